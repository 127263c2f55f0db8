"""The published checkpoints' configurations and the names and shapes of their weights, from transformers' own classes.

Nothing is downloaded and no weight takes memory: models are built on torch's "meta" device at their true sizes. Writes
`fixtures/published/<name>.json` with the `config`, the `weights` as name -> [shape, block numbers], in which `#` stands for
each of these numbers, and how many numbers they hold together.
"""

import json
import re
from pathlib import Path

import torch
from transformers import (Blip2Config, Blip2ForConditionalGeneration, Blip2ForImageTextRetrieval, Blip2QFormerConfig,
                          Blip2VisionConfig, BlipConfig, BlipForConditionalGeneration, BlipForImageTextRetrieval,
                          BlipForQuestionAnswering, CLIPConfig, CLIPModel, CLIPVisionConfig, IdeficsConfig,
                          IdeficsForVisionText2Text, InstructBlipConfig, InstructBlipForConditionalGeneration,
                          LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, OPTConfig, SiglipConfig, SiglipModel,
                          T5Config)

import published_open_flamingo

LARGE = dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, patch_size=14)
SMALL_TEXT = dict(hidden_size=512, intermediate_size=2048, num_hidden_layers=12, num_attention_heads=8)
LARGE_TEXT = dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)


def clip(vision, text, projection):
    return CLIPModel, CLIPConfig(vision_config=dict(vision, projection_dim=projection),
                                 text_config=dict(text, projection_dim=projection), projection_dim=projection)


def llava(**llama):
    vision = CLIPVisionConfig(**LARGE, image_size=336, projection_dim=768, vocab_size=32000)
    text = LlamaConfig(vocab_size=32064, max_position_embeddings=4096, **llama)
    return LlavaForConditionalGeneration, LlavaConfig(vision_config=vision, text_config=text, image_token_index=32000,
                                                      vision_feature_select_strategy="default",
                                                      vision_feature_layer=-2)


def blip(kind):
    vision = dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
                  image_size=384, patch_size=16)
    text = dict(vocab_size=30524, hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
                num_attention_heads=12, encoder_hidden_size=768)
    return kind, BlipConfig(vision_config=vision, text_config=text, image_text_hidden_size=256)


OPT = OPTConfig(hidden_size=2560, ffn_dim=10240, num_hidden_layers=32, num_attention_heads=32, vocab_size=50304,
                word_embed_proj_dim=2560)
T5 = T5Config(d_model=2048, d_kv=64, d_ff=5120, num_layers=24, num_decoder_layers=24, num_heads=32, vocab_size=32128,
              feed_forward_proj="gated-gelu", tie_word_embeddings=False)
VICUNA = LlamaConfig(vocab_size=32001)


def blip_2(kind, text, instruct=False, **more):
    config = InstructBlipConfig if instruct else Blip2Config
    parts = dict(vision_config=Blip2VisionConfig().to_dict(), qformer_config=Blip2QFormerConfig(**more).to_dict())
    return kind, config(**parts, text_config=text.to_dict() if text else None)


def idefics():
    vision = dict(embed_dim=1280, image_size=224, intermediate_size=5120, num_attention_heads=16, num_hidden_layers=32,
                  patch_size=14, hidden_act="gelu")
    perceiver = dict(resampler_depth=6, resampler_head_dim=96, resampler_n_heads=16, resampler_n_latents=64,
                     qk_layer_norms_perceiver=True, use_resampler=True)
    return IdeficsForVisionText2Text, IdeficsConfig(
        vocab_size=32000, additional_vocab_size=2, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32,
        num_attention_heads=32, cross_layer_interval=4, use_resampler=True, qk_layer_norms=False,
        tie_word_embeddings=False, vision_config=vision, perceiver_config=perceiver,
    )


PUBLISHED = {
    "clip-vit-base-patch32": lambda: clip({}, SMALL_TEXT, 512),
    "clip-vit-base-patch16": lambda: clip(dict(patch_size=16), SMALL_TEXT, 512),
    "clip-vit-large-patch14-336": lambda: clip(dict(LARGE, image_size=336), LARGE_TEXT, 768),
    "siglip-base-patch16-224": lambda: (SiglipModel, SiglipConfig()),
    "llava-1.5-7b-hf": lambda: llava(),
    "llava-1.5-13b-hf": lambda: llava(hidden_size=5120, intermediate_size=13824, num_hidden_layers=40,
                                      num_attention_heads=40, num_key_value_heads=40),
    "blip-itm-base-coco": lambda: blip(BlipForImageTextRetrieval),
    "blip-image-captioning-base": lambda: blip(BlipForConditionalGeneration),
    "blip-vqa-base": lambda: blip(BlipForQuestionAnswering),
    "blip2-itm-vit-g": lambda: blip_2(Blip2ForImageTextRetrieval, None, use_qformer_text_input=True, vocab_size=30523),
    "blip2-opt-2.7b": lambda: blip_2(Blip2ForConditionalGeneration, OPT),
    "blip2-flan-t5-xl": lambda: blip_2(Blip2ForConditionalGeneration, T5),
    "instructblip-vicuna-7b": lambda: blip_2(InstructBlipForConditionalGeneration, VICUNA, instruct=True,
                                             vocab_size=30523),
    "instructblip-flan-t5-xl": lambda: blip_2(InstructBlipForConditionalGeneration, T5, instruct=True,
                                              vocab_size=30523),
    "idefics-9b": idefics,
}


def published_names(model, once):
    """Names as `save_pretrained` writes them, and thus as the published files have them."""
    back = getattr(model, "_checkpoint_conversion_mapping", None) or {}
    for name, tensor in model.state_dict().items():
        if name not in once:
            continue
        for old, new in back.items():
            new = new.removeprefix("^")
            if name.startswith(new):
                name = old.removeprefix("^") + name[len(new):]
                break
        yield name, list(tensor.shape)


def built(kind, config):
    """The config as a file has it, and the names and shapes of the weights."""
    with torch.device("meta"):
        model = kind(config)
    # Tied weights stand in the files once, under their first name.
    model.tie_weights()
    once = {name for name, _ in [*model.named_parameters(), *model.named_buffers()]}
    config = dict(config.to_diff_dict(), architectures=[kind.__name__])
    for value in (config, *[part for part in config.values() if isinstance(part, dict)]):
        value.pop("transformers_version", None)
    return config, list(published_names(model, once))


def write_index(path, config, names, parts=None):
    """Writes the index of a model; `parts` are the configs of its frozen parts."""
    weights, count = {}, 0
    for key, shape in names:
        match = re.match(r"(.*?(?:layers?|blocks?)\.)(\d+)(\..*)", key)
        generic = f"{match[1]}#{match[3]}" if match else key
        entry = weights.setdefault(generic, [shape, []])
        assert entry[0] == shape, key
        if match:
            entry[1].append(int(match[2]))
        count += torch.Size(shape).numel()
    lines = ",\n".join(f"    {json.dumps(key)}: {json.dumps(entry)}" for key, entry in sorted(weights.items()))
    parts = f'  "parts": {json.dumps(parts, sort_keys=True)},\n' if parts else ""
    path.write_text(f'{{\n  "config": {json.dumps(config, sort_keys=True)},\n{parts}  "numbers": {count},\n'
                    f'  "weights": {{\n{lines}\n  }}\n}}\n')
    print(f"{path.stem}: {len(weights)} names, {count:,} numbers")


def write(folder):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in PUBLISHED.items():
        write_index(folder / f"{name}.json", *built(*make()))
    for name, *index in published_open_flamingo.models(built):
        write_index(folder / f"{name}.json", *index)


if __name__ == "__main__":
    write(Path(__file__).parent.parent / "fixtures/published")
