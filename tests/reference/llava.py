"""LLaVA: pictures as words. A vision tower, a projector, and a language model that reads both; and the original layout.

Writes `llava/<configuration>/` with transformers' LlavaForConditionalGeneration, and beside it `llava-original/`, laid out
as LLaVA's own repository does. Its expected numbers come from the formulas, written out here: the projector, where what it
gives stands among the words, and greedy writing. The language model there is transformers' LlamaForCausalLM and the vision
tower its CLIPVisionModel, which LLaVA's own classes derive from or call.
"""

import itertools
import json
import shutil
from collections import OrderedDict

import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPVisionConfig, CLIPVisionModel, LlamaConfig,
                          LlamaForCausalLM, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor,
                          PreTrainedTokenizerFast, SiglipImageProcessor)

from blip import LEAST_DIFFERENT, NEW_TOKENS, Monotonous
from blip2 import Outputs, padded, record, try_seeds
from common import Tower, randomise, save

WORDS = ("<pad> <s> </s> <unk> USER ASSISTANT : ? . , a the is what where there cat dog ball red blue green left right of "
         "on and in two one three big small picture show me count many how colour").split()
# That of llava-hf/llava-1.5-7b-hf, to the letter.
TEMPLATE = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
    "{# Render all images first #}{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\n' }}{% endfor %}{# Render all text next #}{% if message['role'] != 'assistant' %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}{% endfor %}"
    "{% else %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{% generation %}"
    "{{ content['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)

CLIP = dict(model_type="clip_vision_model", intermediate_size=18, hidden_act="quick_gelu", layer_norm_eps=1e-5)
SIGLIP = dict(model_type="siglip_vision_model", intermediate_size=18, hidden_act="gelu_pytorch_tanh", layer_norm_eps=1e-6)
TEXT = dict(pad_token_id=0, bos_token_id=1, hidden_act="silu", max_position_embeddings=64)
LLAMA, MISTRAL = dict(TEXT, model_type="llama"), dict(TEXT, model_type="mistral")
QWEN2 = dict(TEXT, model_type="qwen2", bos_token_id=None)

PLACEHOLDER = len(WORDS)

# The vocabulary is always WORDS, the placeholder, and some rows that no token has. `texts`: how many pictures and words
# each text of the padded batch has. `ends`: the text ends by itself before the last of the new tokens.
CONFIGS = {
    # As LLaVA-1.5, with the positions of a long Vicuna: squeezed evenly.
    "clip-llama-linear": dict(
        vision=dict(CLIP, hidden_size=20, num_hidden_layers=3, num_attention_heads=4, patch_size=4, image_size=12),
        text=dict(LLAMA, hidden_size=24, intermediate_size=26, num_hidden_layers=2, num_attention_heads=3,
                  rms_norm_eps=1e-5, rope_scaling=dict(type="linear", factor=2.5)),
        texts=[(1, 6), (1, 3)], side="left", ends=False,
    ),
    # SigLIP, whose patches are all kept; queries share heads of keys, which have biases; one table to read and to write.
    "siglip-qwen2": dict(
        vision=dict(SIGLIP, hidden_size=18, num_hidden_layers=2, num_attention_heads=3, patch_size=5, image_size=16),
        text=dict(QWEN2, hidden_size=24, intermediate_size=22, num_hidden_layers=2, num_attention_heads=6,
                  num_key_value_heads=2, rms_norm_eps=1e-6, rope_theta=500.0, tie_word_embeddings=True),
        strategy="full", layer=-1, texts=[(1, 3), (1, 7)], side="right", ends=True,
    ),
    # A window that is shorter than the text, heads together wider than the model, a layer counted from the front.
    "mistral-window": dict(
        vision=dict(CLIP, hidden_size=15, num_hidden_layers=2, num_attention_heads=5, patch_size=4, image_size=14),
        text=dict(MISTRAL, hidden_size=20, intermediate_size=22, num_hidden_layers=2, num_attention_heads=4,
                  num_key_value_heads=2, head_dim=8, rms_norm_eps=1e-5, sliding_window=5),
        layer=1, texts=[(1, 9), (1, 5)], side="left", ends=False,
    ),
    # Three layers beside each other, with their class tokens; no bias in the projector; positions as in LLaMA 3.1.
    "layers-llama3": dict(
        vision=dict(CLIP, hidden_size=12, num_hidden_layers=3, num_attention_heads=3, patch_size=5, image_size=11,
                    hidden_act="gelu", layer_norm_eps=1e-2),
        text=dict(LLAMA, hidden_size=24, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2,
                  num_key_value_heads=1, rms_norm_eps=1e-2, rope_theta=500.0,
                  rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=3.0,
                                    original_max_position_embeddings=24)),
        strategy="full", layer=[-1, 0, -3], bias=False, act="gelu_pytorch_tanh", texts=[(1, 4), (1, 8)], side="right",
        ends=False,
    ),
    # Two pictures in one text; a text longer than the positions that the model was trained on, and biases in LLaMA.
    "two-pictures-dynamic": dict(
        vision=dict(CLIP, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, patch_size=6, image_size=12),
        text=dict(LLAMA, hidden_size=18, intermediate_size=24, num_hidden_layers=2, num_attention_heads=3,
                  rms_norm_eps=1e-6, attention_bias=True, mlp_bias=True, max_position_embeddings=36,
                  rope_scaling=dict(rope_type="dynamic", factor=4.0)),
        texts=[(2, 34), (1, 12)], pictures=2, side="left", ends=True,
    ),
    # SigLIP and 'default', which here drops the first patch, since there is no class token; no window.
    "siglip-default": dict(
        vision=dict(SIGLIP, hidden_size=14, num_hidden_layers=2, num_attention_heads=7, patch_size=4, image_size=12),
        text=dict(MISTRAL, hidden_size=24, intermediate_size=18, num_hidden_layers=3, num_attention_heads=4,
                  num_key_value_heads=4, rms_norm_eps=1e-5, sliding_window=None),
        act="relu", texts=[(1, 5), (1, 2)], side="right", ends=False,
    ),
    # Every layer of a Qwen2 sees through a window.
    "qwen2-window": dict(
        vision=dict(CLIP, hidden_size=12, num_hidden_layers=2, num_attention_heads=2, patch_size=6, image_size=12),
        text=dict(QWEN2, hidden_size=20, intermediate_size=18, num_hidden_layers=2, num_attention_heads=5,
                  num_key_value_heads=1, rms_norm_eps=1e-6, use_sliding_window=True, sliding_window=4,
                  max_window_layers=0),
        layer=[2, -2], texts=[(1, 8), (1, 6)], side="left", ends=True,
    ),
}


def each(c):
    """How many vectors stand for a picture."""
    v = c["vision"]
    tower = (v["image_size"] // v["patch_size"]) ** 2 + (v["model_type"] == "clip_vision_model")
    return tower - (c.get("strategy", "default") == "default")


def build(c, seed):
    text = dict(c["text"], vocab_size=PLACEHOLDER + 4)
    config = LlavaConfig(vision_config=dict(c["vision"]), text_config=text, image_token_index=PLACEHOLDER,
                         projector_hidden_act=c.get("act", "gelu"), image_seq_length=each(c),
                         vision_feature_select_strategy=c.get("strategy", "default"),
                         vision_feature_layer=c.get("layer", -2), multimodal_projector_bias=c.get("bias", True))
    model = LlavaForConditionalGeneration(config).eval()
    model.set_attn_implementation("eager")
    randomise(model, seed)
    enliven(model, text.get("tie_word_embeddings", False), seed)
    return model


def enliven(model, tied, seed):
    """Words that are far from each other, and not so loud that a model with one table writes only what it has just read."""
    rng = torch.Generator().manual_seed(seed + 500)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=rng)
            if name.endswith("embed_tokens.weight"):
                p.copy_((0.2 if tied else 0.7) * noise)
            elif tied and name.endswith("language_model.norm.weight"):
                p.copy_(1.2 * noise)


def sentence(counts, each, rng):
    """A text with its pictures spread over it: the start token, words, and as many placeholders as there are vectors."""
    pictures, count = counts
    words = torch.randint(4, len(WORDS), (count,), generator=rng).tolist()
    out, step = [1], max(1, count // (pictures + 1))
    for at, word in enumerate(words):
        if at % step == 0 and at // step < pictures:
            out += [PLACEHOLDER] * each
        out.append(word)
    assert out.count(PLACEHOLDER) == pictures * each
    return torch.tensor(out)


def processor(c, folder):
    """A small tokenizer, and the processor that transformers makes of it and the picture's sizes."""
    vocab = {word: at for at, word in enumerate(WORDS)} | {"<image>": PLACEHOLDER}
    inner = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>",
                                        pad_token="<pad>", additional_special_tokens=["<image>"])
    v, clip = c["vision"], c["vision"]["model_type"] == "clip_vision_model"
    side = v["image_size"]
    if clip:
        images = CLIPImageProcessor(size=dict(shortest_edge=side), crop_size=dict(height=side, width=side))
    else:
        images = SiglipImageProcessor(size=dict(height=side, width=side))
    made = LlavaProcessor(images, tokenizer, patch_size=v["patch_size"], num_additional_image_tokens=int(clip),
                          vision_feature_select_strategy=c.get("strategy", "default"), chat_template=TEMPLATE)
    made.save_pretrained(folder)
    return made


def processed(c, folder, rng):
    """What the processor makes of a text and its pictures, and of a conversation. The texts go to `texts.json`."""
    made, count = processor(c, folder), c.get("pictures", 1)
    pictures = [Image.fromarray(torch.randint(0, 256, (19, 23, 3), generator=rng, dtype=torch.uint8).numpy())
                for _ in range(count)]
    text = "USER: " + "<image>\n" * count + "what is left of the unheard-of cat? ASSISTANT:"
    given = made(images=pictures, text=text, return_tensors="pt")
    messages = [dict(role="user", content=[dict(type="text", text="what is there?")] + [dict(type="image")] * count),
                dict(role="assistant", content=[dict(type="text", text="a cat.")]),
                dict(role="user", content=[dict(type="text", text="where?")])]
    chat = made.apply_chat_template(messages, add_generation_prompt=True)
    (folder / "texts.json").write_text(json.dumps(dict(text=text, chat=chat), indent=2) + "\n")
    for at, picture in enumerate(pictures):
        picture.save(folder / f"picture-{at}.png")
    return {"processor.input_ids": given["input_ids"], "processor.pixel_values": given["pixel_values"]}


class Given(Outputs):
    """Keeps what a module is given, under the name of an array."""

    def __init__(self, name, module, keyword=None):
        self.found = {}
        self.hooks = [module.register_forward_pre_hook(self._read(name, keyword), with_kwargs=True)]

    def _read(self, name, keyword):
        def hook(_module, args, kwargs):
            self.found[name] = kwargs[keyword] if keyword else args[0]
        return hook


def greedy(model, ids, pixels):
    with torch.no_grad():
        out = model.generate(input_ids=ids, pixel_values=pixels, attention_mask=torch.ones_like(ids),
                             max_new_tokens=NEW_TOKENS, min_length=0, do_sample=False, num_beams=1,
                             return_dict_in_generate=True, output_logits=True)
    decided(torch.cat(out.logits))
    return out.sequences[:, ids.shape[1]:]


def decided(logits):
    """Passes a seed over whose next words are so near each other that rounding could choose."""
    best = logits.topk(2).values
    if (best[:, 0] - best[:, 1]).min() < 1e-3:
        raise Monotonous


def settle_end(set_end, ends, write):
    """Chooses the id that ends a text, now that it is known what the model writes; gives the new tokens."""
    set_end(None)
    free = write()[0].tolist()
    if len(set(free)) < LEAST_DIFFERENT or PLACEHOLDER in free:
        raise Monotonous
    late = max((free.index(t), t) for t in set(free) if free.index(t) < NEW_TOKENS - 1)[1]
    set_end(late if ends else next(i for i in range(3, len(WORDS)) if i not in free))
    written = write()
    assert (written.shape[1] < NEW_TOKENS) == ends, written
    print("writes", written[0].tolist())
    return written


def one(folder, c, seed):
    shutil.rmtree(folder, ignore_errors=True)
    model, rng = build(c, seed), torch.Generator().manual_seed(seed + 4000)
    side, count = c["vision"]["image_size"], each(c)
    pixels = torch.randn((sum(pictures for pictures, _ in c["texts"]), 3, side, side), generator=rng)
    rows = [sentence(counts, count, rng) for counts in c["texts"]]
    ids, mask = padded(rows, 0, c["side"])
    inputs = {"pixel_values": pixels, "input_ids": ids, "attention_mask": mask}

    # The class doesn't ask its tower for maps, so that is run by itself.
    tower = model.vision_tower
    _, seen = record([Tower("vision", tower.vision_model.encoder.layers)],
                     lambda: tower(pixels, output_attentions=True, output_hidden_states=True))
    inner = model.language_model
    recorders = [Tower("decoder", inner.layers), Given("projector.input", model.multi_modal_projector),
                 Outputs({"projector.output": model.multi_modal_projector}),
                 Given("language.inputs", inner, "inputs_embeds")]
    out, read = record(recorders, lambda: model(**inputs))
    with torch.no_grad():
        lens = model.lm_head(inner.norm(read["decoder.blocks.0.resid_post"]))
        last = read[f"decoder.blocks.{len(inner.layers) - 1}.resid_post"]
        assert torch.equal(out.logits, model.lm_head(inner.norm(last)))

    pictures = c.get("pictures", 1)
    alone = sentence((pictures, 5), count, rng)[None]

    def end(token):
        model.generation_config.eos_token_id = model.config.text_config.eos_token_id = token

    new = settle_end(end, c["ends"], lambda: greedy(model, alone, pixels[:pictures]))
    folder.mkdir(parents=True)
    save(model, folder, inputs | seen | read | processed(c, folder, rng) | {
        "logits": out.logits,
        "lens.0": lens,
        "prompt.input_ids": alone,
        "generated_ids": new,
    })
    (folder / "generation_config.json").unlink(missing_ok=True)


# LLaVA's own layout. `projector`: `mm_projector_type`, if it is said. `tower`: where the vision tower's folder lies.
# `files`: how many files hold the weights. `own`: the vision tower lies among the weights too, as a fine-tuned one does.
ORIGINAL = {
    # LLaVA-1.5: two layers, weights in two files in half precision, the tower in a folder beside the checkpoint.
    "mlp": dict(
        vision=dict(CLIP, hidden_size=16, num_hidden_layers=3, num_attention_heads=4, patch_size=4, image_size=12),
        text=dict(hidden_size=24, intermediate_size=26, num_hidden_layers=2, num_attention_heads=3, rms_norm_eps=1e-5),
        mm=dict(mm_projector_type="mlp2x_gelu", mm_vision_select_layer=-2, mm_vision_select_feature="patch",
                image_aspect_ratio="pad"),
        tower="inside", files=2, half=True,
    ),
    # LLaVA-1.0: one layer, of which the config says nothing; pictures stand between two tokens; one file.
    "linear": dict(
        vision=dict(CLIP, hidden_size=12, num_hidden_layers=2, num_attention_heads=3, patch_size=5, image_size=11),
        text=dict(hidden_size=18, intermediate_size=20, num_hidden_layers=2, num_attention_heads=3, rms_norm_eps=1e-6),
        mm=dict(mm_vision_select_layer=-2, mm_use_im_start_end=True, mm_use_im_patch_token=True),
        tower="named", files=1,
    ),
    # Three layers, the class token kept, the last block's states; heads of keys are shared.
    "class-token": dict(
        vision=dict(CLIP, hidden_size=15, num_hidden_layers=2, num_attention_heads=5, patch_size=4, image_size=8,
                    hidden_act="gelu"),
        text=dict(hidden_size=24, intermediate_size=18, num_hidden_layers=2, num_attention_heads=4,
                  num_key_value_heads=2, rms_norm_eps=1e-5, rope_theta=300.0),
        mm=dict(mm_projector_type="mlp3x_gelu", mm_vision_select_layer=-1, mm_vision_select_feature="cls_patch"),
        tower="inside", files=3, whole=True,
    ),
    # No projector at all; the tower lies among the weights, and the folder has another, which isn't to be taken.
    "identity": dict(
        vision=dict(CLIP, hidden_size=20, num_hidden_layers=2, num_attention_heads=2, patch_size=6, image_size=12),
        text=dict(hidden_size=20, intermediate_size=22, num_hidden_layers=2, num_attention_heads=2, rms_norm_eps=1e-5),
        mm=dict(mm_projector_type="identity", mm_vision_select_layer=1), tower="inside", files=1, own=True,
    ),
}


def spliced(language, ids, projected, placeholder):
    """The words' vectors, the pictures' in their places, as prepare_inputs_labels_for_multimodal puts them."""
    rows, words = [], language.model.embed_tokens
    for row, picture in zip(ids, projected, strict=True):
        at = (row == placeholder).nonzero().flatten()
        assert len(at) == len(picture)
        rows.append(torch.cat([words(row[: at[0]]), picture, words(row[at[-1] + 1 :])]))
    return torch.stack(rows)


def written(language, ids, projected, placeholder):
    """What a language model writes behind `ids`, greedily, each token after a pass over everything before it."""
    with torch.no_grad():
        x, new = spliced(language, ids, projected, placeholder), []
        while len(new) < NEW_TOKENS and (not new or new[-1] != language.config.eos_token_id):
            logits = language(inputs_embeds=x).logits[0, -1:]
            decided(logits)
            new.append(logits[0].argmax().item())
            x = torch.cat([x, language.model.embed_tokens(torch.tensor([[new[-1]]]))], 1)
    return torch.tensor([new])


def project(weights, x):
    """mm_projector: linear layers with GELU between them; one alone has no number in its name."""
    if "model.mm_projector.weight" in weights:
        return F.linear(x, weights["model.mm_projector.weight"], weights["model.mm_projector.bias"])
    layers = sorted({int(name.split(".")[2]) for name in weights if name.startswith("model.mm_projector.")})
    for layer in layers:
        x = F.gelu(x) if layer else x
        x = F.linear(x, weights[f"model.mm_projector.{layer}.weight"], weights[f"model.mm_projector.{layer}.bias"])
    return x


def original(folder, c, seed):
    """The text of LLaVA has -200 for a picture; here, as in our reader, it is the first id that is no token."""
    shutil.rmtree(folder, ignore_errors=True)
    rng = torch.Generator().manual_seed(seed + 5000)
    config = LlamaConfig(**c["text"], vocab_size=PLACEHOLDER, pad_token_id=0, bos_token_id=1, max_position_embeddings=64)
    language = LlamaForCausalLM._from_config(config, attn_implementation="eager").eval()
    vision = CLIPVisionModel._from_config(CLIPVisionConfig(**c["vision"]), attn_implementation="eager").eval()
    randomise(language, seed), randomise(vision, seed + 1)
    enliven(language, False, seed)
    weights = OrderedDict(language.state_dict())
    wide, width = c["vision"]["hidden_size"], c["text"]["hidden_size"]
    kind = c["mm"].get("mm_projector_type", "linear")
    depth = dict(linear=1, identity=0).get(kind) if kind in ("linear", "identity") else int(kind[3:kind.index("x")])
    for layer in range(depth):
        name = "model.mm_projector" + ("" if kind == "linear" else f".{2 * layer}")
        size = wide if layer == 0 else width
        weights[f"{name}.weight"] = torch.randn((width, size), generator=rng) / size**0.5
        weights[f"{name}.bias"] = 0.3 * torch.randn(width, generator=rng)
    if c.get("half"):
        weights = OrderedDict((name, w.half().float()) for name, w in weights.items())
        language.load_state_dict({name: w for name, w in weights.items() if "mm_projector" not in name})

    side = c["vision"]["image_size"]
    pixels = torch.randn((2, 3, side, side), generator=rng)
    _, seen = record([Tower("vision", vision.vision_model.encoder.layers)], lambda: vision(pixels, output_attentions=True))
    with torch.no_grad():
        states = vision(pixels, output_hidden_states=True).hidden_states[c["mm"]["mm_vision_select_layer"]]
        states = states if c["mm"].get("mm_vision_select_feature") == "cls_patch" else states[:, 1:]
        projected = project(weights, states)
    each = projected.shape[1]

    ids = torch.stack([sentence((1, 6), each, rng) for _ in range(2)])
    with torch.no_grad():
        inputs = spliced(language, ids, projected, PLACEHOLDER)
    out, read = record([Tower("decoder", language.model.layers)], lambda: language(inputs_embeds=inputs))
    alone = sentence((1, 5), each, rng)[None]

    def end(token):
        config.eos_token_id = token

    new = settle_end(end, kind == "linear", lambda: written(language, alone, projected[:1], PLACEHOLDER))

    # The folders.
    name = f"clip-{folder.name}"
    tower = folder / ("vision_tower" if c["tower"] == "inside" else name)
    own = {inner: w.clone() for inner, w in vision.state_dict().items()}  # the tower is changed below
    if c.get("own"):
        weights |= {f"model.vision_tower.vision_tower.{inner}": w for inner, w in own.items()}
        randomise(vision, seed + 2)
    if c.get("whole"):
        text = dict(vocab_size=9, hidden_size=4, intermediate_size=4, num_hidden_layers=1, num_attention_heads=1,
                    max_position_embeddings=4)
        clip = CLIPModel(CLIPConfig(text_config=text, vision_config=c["vision"], projection_dim=4))
        clip.vision_model.load_state_dict(vision.vision_model.state_dict())
        clip.save_pretrained(tower)
    else:
        vision.save_pretrained(tower)
    CLIPImageProcessor(size=dict(shortest_edge=side), crop_size=dict(height=side, width=side)).save_pretrained(tower)
    config = config.to_dict() | c["mm"] | dict(architectures=["LlavaLlamaForCausalLM"], model_type="llava",
                                               mm_vision_tower=f"openai/{name}", mm_hidden_size=wide, use_mm_proj=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    stored = [(name, w.half() if c.get("half") else w.clone()) for name, w in weights.items()]
    count, names = c["files"], {}
    for at in range(count):
        part = OrderedDict(stored[at::count])
        file = "pytorch_model.bin" if count == 1 else f"pytorch_model-{at + 1:05}-of-{count:05}.bin"
        names |= dict.fromkeys(part, file)
        torch.save(part, folder / file)
    if count > 1:
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(dict(metadata={}, weight_map=names)) + "\n")
    tensors = {"pixel_values": pixels, "input_ids": ids, "projector.input": states, "projector.output": projected,
               "language.inputs": inputs, "logits": out.logits, "prompt.input_ids": alone, "generated_ids": new}
    tensors = {name: t.detach().clone().contiguous() for name, t in (tensors | seen | read).items()}
    save_file(tensors, folder / "reference.safetensors")
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1024
    print(f"{folder.parent.name}/{folder.name}: {len(tensors)} tensors, {size:.0f} KiB")


def write(folder):
    try_seeds(one, folder, CONFIGS)
    try_seeds(original, folder.with_name("llava-original"), ORIGINAL)
