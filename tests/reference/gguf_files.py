"""LLaVA as llama.cpp has it: two GGUF files, written with llama.cpp's own package, weights quantized in several ways.

Writes `gguf/<configuration>/`. Expected numbers come from transformers' LlamaForCausalLM and CLIPVisionModel with the weights
that the package itself widens, spliced by the formulas of `llava.py`; ids from transformers' converter of such tokenizers.
"""

import json
import shutil

import gguf
import numpy as np
import torch
import torch.nn.functional as F
from gguf import GGMLQuantizationType as Q
from gguf.quants import dequantize, quantize
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM
from transformers.integrations.ggml import convert_gguf_tokenizer

from blip2 import record, try_seeds
from common import Tower, randomise
from llava import enliven, settle_end, spliced, written
from safetensors.torch import save_file

TEXTS = ["a cat", "what colour is the cat?", "  two  cats,and a dog", "猫在哪里？", "cat\n\tdog", "unheard-of: Ünïcode!"]
PIECES = ("a c t o u r e i s h w d g l b n ▁a ▁c ▁t ▁d ▁w at ▁cat ▁ca cat ▁the he th ▁th ▁is ou ▁what ha ▁do ▁dog lo ur our "
          "▁co lour ▁colour ▁two wo on ▁on in ▁in ▁s s, ? , : - ! ▁b ll al ball ▁ball 猫").split()

# `kinds`: how each part of the language model is stored; `vision`: the same of the tower; `old`: the names of the first files.
CONFIGS = {
    # As the first files of LLaVA-1.5: the layers of the tower's feed-forward part are called the wrong way round.
    "vicuna-q8": dict(
        vision=dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, patch_size=4,
                    image_size=12, hidden_act="quick_gelu", layer_norm_eps=1e-5),
        text=dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, rms_norm_eps=1e-5),
        kinds=dict(attn_q=Q.Q8_0, attn_k=Q.Q8_0, attn_v=Q.Q5_1, attn_output=Q.Q5_0, ffn_gate=Q.Q4_0, ffn_up=Q.Q4_1,
                   ffn_down=Q.Q8_0, token_embd=Q.F16, output=Q.Q8_0),
        tower=Q.F16, old=True, ends=False,
    ),
    # What most people have: blocks of 256 numbers with scales of their own; heads share keys; a chat template.
    "k-quants": dict(
        vision=dict(hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, patch_size=6,
                    image_size=12, hidden_act="gelu", layer_norm_eps=1e-5),
        text=dict(hidden_size=256, intermediate_size=256, num_hidden_layers=1, num_attention_heads=8,
                  num_key_value_heads=2, rms_norm_eps=1e-6, rope_theta=500.0),
        kinds=dict(attn_q=Q.Q4_K, attn_k=Q.Q4_K, attn_v=Q.Q6_K, attn_output=Q.Q5_K, ffn_gate=Q.Q3_K, ffn_up=Q.Q4_K,
                   ffn_down=Q.Q6_K, token_embd=Q.Q4_K, output=Q.Q6_K),
        tower=Q.F32, ends=False, template="{% for m in messages %}{{ m.role }}: {{ m.content }} {% endfor %}",
    ),
    # One table to read and to write, states of two layers of the tower, squeezed positions.
    "layers-bf16": dict(
        vision=dict(hidden_size=32, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, patch_size=5,
                    image_size=11, hidden_act="quick_gelu", layer_norm_eps=1e-6),
        text=dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, rms_norm_eps=1e-5,
                  rope_scaling=dict(rope_type="linear", factor=2.0)),
        kinds=dict(attn_q=Q.BF16, attn_k=Q.F32, attn_v=Q.Q8_0, attn_output=Q.BF16, ffn_gate=Q.BF16, ffn_up=Q.F16,
                   ffn_down=Q.Q4_0, token_embd=Q.Q8_0),
        tower=Q.Q8_0, layers=[1, 3], tied=True, ends=True,
    ),
    "f32": dict(
        vision=dict(hidden_size=20, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, patch_size=4,
                    image_size=8, hidden_act="quick_gelu", layer_norm_eps=1e-5),
        text=dict(hidden_size=24, intermediate_size=20, num_hidden_layers=2, num_attention_heads=3, rms_norm_eps=1e-5),
        kinds={}, tower=Q.F32, ends=False,
    ),
}


def vocabulary():
    """Tokens, their scores and kinds, as SentencePiece numbers them."""
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + list(dict.fromkeys(["▁", *PIECES]))
    kinds = [2, 3, 3] + [6] * 256 + [1] * (len(tokens) - 259)
    scores = [0.0] * 259 + [-float(at) for at in range(len(tokens) - 259)]
    # What is longer is the likelier here, so that words are put together.
    scores[259:] = [score + 40.0 * len(token) for score, token in zip(scores[259:], tokens[259:])]
    return tokens, scores, kinds


TOKENS, SCORES, KINDS = vocabulary()
PLACEHOLDER = len(TOKENS)


def permuted(weight, heads):
    """llama.cpp's order of rows: what is turned together stands beside each other."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def unpermuted(weight, heads):
    return weight.reshape(heads, weight.shape[0] // heads // 2, 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def stored(weight, kind, rng):
    """The bytes of a matrix, and what they widen to."""
    weight = weight.astype(np.float32)
    if kind == Q.F32:
        return weight, weight
    if kind == Q.F16:
        return weight.astype(np.float16), weight.astype(np.float16).astype(np.float32)
    if kind in (Q.Q3_K, Q.Q4_K, Q.Q5_K, Q.Q6_K):
        data = blocks(weight.shape, kind, rng)
    else:
        data = quantize(weight, kind)
    return data, dequantize(data, kind)


def blocks(shape, kind, rng):
    """Blocks that llama.cpp alone can make of numbers; by chance, with scales that make weights of the usual size."""
    per, size = gguf.GGML_QUANT_SIZES[kind]
    data = rng.integers(0, 256, (shape[0] * shape[1] // per, size), dtype=np.uint8)

    def put(at, value):
        data[:, at:at + 2] = np.frombuffer(np.float16(value).tobytes(), dtype=np.uint8)

    wide = 16 / np.sqrt(shape[1])
    if kind in (Q.Q4_K, Q.Q5_K):
        step = 3e-4 * wide * (1 if kind == Q.Q4_K else 0.5)
        put(0, step), put(2, step * (7.5 if kind == Q.Q4_K else 15.5))
    elif kind == Q.Q6_K:
        put(208, 4.5e-5 * wide)
    else:
        put(108, 1.2e-3 * wide)
    return data.reshape(shape[0], -1)


def write_language(path, model, c, rng):
    """Writes the language model; its weights become what is stored."""
    writer = gguf.GGUFWriter(path, "llama")
    config = model.config
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    if config.rope_scaling:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(config.rope_scaling["factor"])
    writer.add_tokenizer_model("llama")
    writer.add_token_list(TOKENS)
    writer.add_token_scores(SCORES)
    writer.add_token_types(KINDS)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(config.eos_token_id)
    writer.add_unk_token_id(0)
    if "template" in c:
        writer.add_chat_template(c["template"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    state = model.state_dict()
    for name, weight in state.items():
        if name == "lm_head.weight" and c.get("tied"):
            continue
        called = names.get_name(name, try_suffixes=(".weight", ".bias"))
        kind = c["kinds"].get(called.split(".")[-2], Q.F32) if weight.dim() == 2 else Q.F32
        heads = dict(attn_q=config.num_attention_heads, attn_k=config.num_key_value_heads).get(called.split(".")[-2])
        weight = weight.numpy()
        data, wide = stored(permuted(weight, heads) if heads else weight, kind, rng)
        writer.add_tensor(called, data, raw_dtype=kind)
        state[name].copy_(torch.from_numpy(unpermuted(wide, heads).copy() if heads else wide.copy()))
    if c.get("tied"):
        state["lm_head.weight"].copy_(state["model.embed_tokens.weight"])
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file()
    writer.close()


def vision_name(name, old):
    """As convert_image_encoder_to_gguf.py calls it."""
    name = name.replace("vision_model", "v").replace("encoder.layers", "blk").replace("embeddings.", "")
    name = name.replace("_proj", "").replace("self_attn.", "attn_").replace("layer_norm", "ln").replace("layernorm", "ln")
    up, down = ("ffn_down", "ffn_up") if old else ("ffn_up", "ffn_down")
    name = name.replace("mlp.fc1", up).replace("mlp.fc2", down).replace("embedding", "embd")
    return name.replace("layrnorm", "ln")


def write_vision(path, model, projector, c, rng):
    writer = gguf.GGUFWriter(path, "clip")
    v = c["vision"]
    writer.add_bool("clip.has_text_encoder", False)
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_bool("clip.has_llava_projector", True)
    writer.add_string("clip.projector_type", "mlp")
    whole = dict(image_size=v["image_size"], patch_size=v["patch_size"], embedding_length=v["hidden_size"],
                 feed_forward_length=v["intermediate_size"], projection_dim=8, block_count=v["num_hidden_layers"])
    for key, number in whole.items():
        writer.add_uint32(f"clip.vision.{key}", number)
    writer.add_uint32("clip.vision.attention.head_count", v["num_attention_heads"])
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", v["layer_norm_eps"])
    writer.add_array("clip.vision.image_mean", [0.4, 0.45, 0.5])
    writer.add_array("clip.vision.image_std", [0.25, 0.26, 0.27])
    writer.add_bool("clip.use_gelu", v["hidden_act"] == "gelu")
    if "layers" in c:
        writer.add_array("clip.vision.feature_layer", c["layers"])
    state = model.state_dict()
    for name, weight in state.items():
        if "post_layernorm" in name or "position_ids" in name:
            continue
        called = vision_name(name, c.get("old"))
        kind = c["tower"] if weight.dim() == 2 and "embd" not in called else Q.F32
        kind = Q.F16 if "patch_embd" in called else kind  # always so
        data, wide = stored(weight.numpy(), kind, rng)
        writer.add_tensor(called, data, raw_dtype=kind)
        state[name].copy_(torch.from_numpy(wide.copy()))
    for name, weight in projector.items():
        kind = c["tower"] if weight.dim() == 2 and weight.shape[1] % 32 == 0 else Q.F32
        data, wide = stored(weight.numpy(), kind, rng)
        writer.add_tensor(name, data, raw_dtype=kind)
        projector[name] = torch.from_numpy(wide.copy())
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file()
    writer.close()


def ids_of_texts():
    tokenizer, _ = convert_gguf_tokenizer("llama", dict(tokens=TOKENS, scores=SCORES, token_type=KINDS, bos_token_id=1,
                                                        eos_token_id=2, unk_token_id=0, tokenizer_type="llama"))
    return [dict(text=text, ids=[1, *tokenizer.encode(text).ids]) for text in TEXTS]


def sentence(each, count, rng):
    words = torch.randint(259, PLACEHOLDER, (count,), generator=rng).tolist()
    return torch.tensor([1, words[0], *[PLACEHOLDER] * each, *words[1:]])


def one(folder, c, seed):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rng, numbers = torch.Generator().manual_seed(seed + 6000), np.random.default_rng(seed + 6000)
    config = LlamaConfig(**c["text"], vocab_size=PLACEHOLDER, pad_token_id=0, bos_token_id=1, max_position_embeddings=64,
                         tie_word_embeddings=c.get("tied", False))
    language = LlamaForCausalLM._from_config(config, attn_implementation="eager").eval()
    vision = CLIPVisionModel._from_config(CLIPVisionConfig(**c["vision"]), attn_implementation="eager").eval()
    randomise(language, seed), randomise(vision, seed + 1)
    enliven(language, c.get("tied", False), seed)
    layers = c.get("layers", [-1])
    wide, width = c["vision"]["hidden_size"] * len(layers), c["text"]["hidden_size"]
    projector = {}
    for at, size in ((0, wide), (2, width)):
        projector[f"mm.{at}.weight"] = torch.randn((width, size), generator=rng) / size**0.5
        projector[f"mm.{at}.bias"] = 0.3 * torch.randn(width, generator=rng)

    def write_files():
        numbers.bit_generator.state = np.random.default_rng(seed + 6000).bit_generator.state
        with torch.no_grad():
            write_language(folder / "model.gguf", language, c, numbers)

    write_files()
    with torch.no_grad():
        write_vision(folder / "mmproj-model.gguf", vision, projector, c, numbers)

    side = c["vision"]["image_size"]
    pixels = torch.randn((2, 3, side, side), generator=rng)
    _, seen = record([Tower("vision", vision.vision_model.encoder.layers)], lambda: vision(pixels, output_attentions=True))
    with torch.no_grad():
        hidden = vision(pixels, output_hidden_states=True).hidden_states
        states = torch.cat([hidden[layer] for layer in layers], -1)[:, 1:]
        x = F.gelu(F.linear(states, projector["mm.0.weight"], projector["mm.0.bias"]))
        projected = F.linear(x, projector["mm.2.weight"], projector["mm.2.bias"])
    each = projected.shape[1]

    ids = torch.stack([sentence(each, 6, rng) for _ in range(2)])
    with torch.no_grad():
        inputs = spliced(language, ids, projected, PLACEHOLDER)
    out, read = record([Tower("decoder", language.model.layers)], lambda: language(inputs_embeds=inputs))
    alone = sentence(each, 5, rng)[None]

    def end(token):
        config.eos_token_id = token

    new = settle_end(end, c["ends"], lambda: written(language, alone, projected[:1], PLACEHOLDER))
    # Once more, now that it is known which token ends a text. What is stored stays: it is widened to itself, or made anew.
    config.eos_token_id = int(config.eos_token_id)
    again = {name: weight.clone() for name, weight in language.state_dict().items()}
    write_files()
    assert all(torch.equal(weight, again[name]) for name, weight in language.state_dict().items())
    (folder / "texts.json").write_text(json.dumps(ids_of_texts(), indent=1, ensure_ascii=False) + "\n")
    tensors = {"pixel_values": pixels, "input_ids": ids, "projector.input": states, "projector.output": projected,
               "language.inputs": inputs, "logits": out.logits, "prompt.input_ids": alone, "generated_ids": new}
    tensors = {name: t.detach().clone().contiguous() for name, t in (tensors | seen | read).items()}
    save_file(tensors, folder / "reference.safetensors")
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1024
    print(f"gguf/{folder.name}: {len(tensors)} tensors, {size:.0f} KiB")


def write(folder):
    try_seeds(one, folder.with_name("gguf"), CONFIGS)
