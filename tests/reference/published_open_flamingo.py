"""The same of OpenFlamingo, from its authors' own code: what they trained, and the parts of others that it stands on.

Needs `pip install --no-deps open-flamingo==2.0.1 einops einops-exts`. Like the other models it takes no memory.
"""

import sys
import types

import torch
from transformers import CLIPConfig, CLIPModel, GPTNeoXConfig, GPTNeoXForCausalLM, MptConfig, MptForCausalLM

from open_flamingo import older

EOC, IMAGE, TOKENS = 50277, 50278, 50280  # of the tokenizer of GPT-NeoX, which all have, with what is added to it
OLDER_TOKENS, NEWER_TOKENS = 50368, 50432  # rows of the tables of MPT-1B, and of the others


def mpt(**sizes):
    return MptForCausalLM, MptConfig(vocab_size=NEWER_TOKENS, max_seq_len=2048, **sizes)


# Language model, interval of the gated cross-attention, and whether its names are those of MosaicGPT.
MODELS = {
    "OpenFlamingo-3B-vitl-mpt1b": (lambda: mpt(d_model=2048, n_heads=16, n_layers=24), 1, True),
    "OpenFlamingo-4B-vitl-rpj3b": (lambda: (GPTNeoXForCausalLM, GPTNeoXConfig(
        hidden_size=2560, intermediate_size=10240, num_attention_heads=32, num_hidden_layers=32, rotary_pct=1.0,
        use_parallel_residual=False, vocab_size=NEWER_TOKENS)), 2, False),
    "OpenFlamingo-9B-vitl-mpt7b": (lambda: mpt(d_model=4096, n_heads=32, n_layers=32), 4, False),
}


def theirs():
    """Their classes; CLIP in its other form, and the distribution over many GPUs, are of no use here."""
    sys.modules.setdefault("open_clip", types.ModuleType("open_clip"))
    here = sys.modules.pop("open_flamingo")  # the module beside this one has the name of theirs
    path, sys.path = sys.path, [entry for entry in sys.path if not entry.endswith("tests/reference") and entry]
    try:
        from open_flamingo.src.flamingo import Flamingo
        from open_flamingo.src.flamingo_lm import FlamingoLMMixin
        from open_flamingo.src.utils import extend_instance
    finally:
        sys.path = path
        for name in [name for name in sys.modules if name.split(".")[0] == "open_flamingo"]:
            del sys.modules[name]
        sys.modules["open_flamingo"] = here
    return Flamingo, FlamingoLMMixin, extend_instance


def trained(kind, config, every):
    """Names and shapes of what they trained and publish: `filter_state_dict_to_trainable` in their `train_utils.py`."""
    Flamingo, mixin, extend_instance = theirs()
    with torch.device("meta"):
        language = kind(config)
        language.resize_token_embeddings(TOKENS, mean_resizing=False)
        extend_instance(language, mixin)
        language.set_decoder_layers_attr_name("gpt_neox.layers" if kind is GPTNeoXForCausalLM else "transformer.blocks")
        vision = types.SimpleNamespace(visual=torch.nn.Identity())
        model = Flamingo(vision, language, EOC, IMAGE, vis_dim=1024, cross_attn_every_n_layers=every)
    embeddings = {name for name, _ in model.named_parameters() if name.endswith("wte.weight") or "embed" in name}
    for name, tensor in model.state_dict().items():
        if "old_decoder_blocks" in name or "lang_encoder.gated_cross_attn_layers" in name:
            continue
        if name.startswith("perceiver") or ".gated_cross_attn_layer." in name or name in embeddings:
            yield name, list(tensor.shape)


def models(built):
    """Each with its config, the names and shapes of all its weights, and the configs of its parts."""
    large = dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, patch_size=14,
                 image_size=224, projection_dim=768)
    text = dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, projection_dim=768)
    vision, seeing = built(CLIPModel, CLIPConfig(vision_config=large, text_config=text, projection_dim=768))
    for name, (make, every, is_older) in MODELS.items():
        kind, sizes = make()
        language, reading = built(kind, sizes)
        if is_older:
            width, layers = sizes.d_model, sizes.n_layers
            language = dict(architectures=["MosaicGPT"], model_type="mosaic_gpt", d_model=width, n_heads=sizes.n_heads,
                            n_layers=layers, mlp_ratio=4, max_seq_len=2048, vocab_size=OLDER_TOKENS, alibi=True,
                            alibi_bias_max=8, attn_qk_ln=True, attn_clip_qkv=None, softmax_scale=None, no_bias=True,
                            logit_scale=None)
            rows = lambda shape: [OLDER_TOKENS if size == NEWER_TOKENS else size for size in shape]
            reading = [(older(key), rows(shape)) for key, shape in reading]
            reading += [(f"transformer.blocks.{layer}.attn.{part}_ln.weight", [width])
                        for layer in range(layers) for part in "qk"]
        config = dict(architectures=["OpenFlamingo"], cross_attn_every_n_layers=every, media_token_id=IMAGE,
                      eoc_token_id=EOC, vocab_size=TOKENS)
        names = list(trained(kind, sizes, every))
        names += [(f"language_model.{key}", shape) for key, shape in reading]
        names += [(f"vision_encoder.{key}", shape) for key, shape in seeing]
        yield name, config, names, dict(language_model=language, vision_encoder=vision)
