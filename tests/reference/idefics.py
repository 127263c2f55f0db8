"""IdeficsForVisionText2Text (Flamingo): every map, the gates, logits with open and closed gates, greedy writing."""

import torch
from transformers import IdeficsConfig, IdeficsForVisionText2Text
from transformers.models.idefics.perceiver import IdeficsPerceiverAttention

from common import Tower, randomise, save

WRITTEN = 20

CONFIGS = {
    # No resampler: text looks at the class token and all patches. One picture for one text, and none before it.
    "patches": dict(
        text=dict(hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3, vocab_size=61,
                  additional_vocab_size=2, cross_layer_interval=1, alpha_type="float"),
        vision=dict(embed_dim=16, intermediate_size=28, num_hidden_layers=2, num_attention_heads=2, image_size=16,
                    patch_size=5, hidden_act="gelu"),
        lengths=[9, 9], pictures=[[2], [0]],
    ),
    # A resampler without norms of heads, whose heads together are wider than the vectors; padding in front.
    "resampler": dict(
        text=dict(hidden_size=20, intermediate_size=36, num_hidden_layers=4, num_attention_heads=2, vocab_size=50,
                  additional_vocab_size=0, cross_layer_interval=2, alpha_type="vector"),
        vision=dict(embed_dim=18, intermediate_size=30, num_hidden_layers=1, num_attention_heads=3, image_size=14,
                    patch_size=7, hidden_act="quick_gelu", layer_norm_eps=1e-3),
        perceiver=dict(resampler_n_latents=5, resampler_depth=2, resampler_n_heads=3, resampler_head_dim=7),
        lengths=[11, 7], pictures=[[1, 6], [2, 4]],
    ),
    # Norms of heads everywhere, several pictures, a text before the first, an epsilon that shows.
    "head-norms": dict(
        text=dict(hidden_size=32, intermediate_size=24, num_hidden_layers=3, num_attention_heads=4, vocab_size=47,
                  additional_vocab_size=3, cross_layer_interval=3, alpha_type="vector", qk_layer_norms=True,
                  rms_norm_eps=1e-2),
        vision=dict(embed_dim=12, intermediate_size=20, num_hidden_layers=2, num_attention_heads=1, image_size=13,
                    patch_size=4, hidden_act="gelu"),
        perceiver=dict(resampler_n_latents=3, resampler_depth=1, resampler_n_heads=2, resampler_head_dim=6,
                       qk_layer_norms_perceiver=True),
        lengths=[10, 12], pictures=[[3, 5, 8], [4, 6, 7]],
    ),
    # Norms in the cross-attention alone, tied tables (transformers can't save tied additional tokens), three pictures straight to the text, much padding.
    "tied": dict(
        text=dict(hidden_size=28, intermediate_size=44, num_hidden_layers=2, num_attention_heads=7, vocab_size=40,
                  additional_vocab_size=0, cross_layer_interval=1, alpha_type="float", qk_layer_norms=True,
                  tie_word_embeddings=True),
        vision=dict(embed_dim=20, intermediate_size=32, num_hidden_layers=1, num_attention_heads=5, image_size=12,
                    patch_size=6, hidden_act="gelu"),
        lengths=[4, 13], pictures=[[0, 1, 1], [3, 9, 9]],
    ),
}


def prompts(rng, c):
    """Two texts padded in front, and which picture each token sees: the last one before it, as the processor masks."""
    known = c["text"]["vocab_size"] + c["text"]["additional_vocab_size"]
    longest, count = max(c["lengths"]), len(c["pictures"][0])
    ids = torch.zeros((2, longest), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    images = torch.zeros((2, longest, count), dtype=torch.int64)
    for row, (length, places) in enumerate(zip(c["lengths"], c["pictures"])):
        start = longest - length
        ids[row, start:] = torch.randint(3, known, (length,), generator=rng)
        ids[row, start] = known - 1  # an additional token, if there are any
        mask[row, start:] = 1
        for token in range(length):
            before = [picture for picture, place in enumerate(places) if place <= token]
            if before:
                images[row, start + token, before[-1]] = 1
    if count > 2:
        images[0, -1, 0] = 1  # the processor never does this, but the mask may: one token sees two pictures
    return ids, mask, images


class Gated:
    """Records the gated cross-attention blocks and the resampler during the next forward pass."""

    def __init__(self, model):
        self.tensors, self.hooks, self.gate = {}, [], None
        for i, block in enumerate(model.model.gated_cross_attn_layers):
            self.hooks += [
                block.register_forward_pre_hook(self._before, with_kwargs=True),
                block.cross_attn.register_forward_hook(self._attended(i, block)),
                block.mlp.register_forward_hook(self._fed(i, block)),
            ]
        if model.config.use_resampler:
            for i, (attention, _) in enumerate(model.model.perceiver_resampler.blocks):
                self.hooks.append(attention.register_forward_hook(self._resampled(i)))

    def _before(self, _block, _args, kwargs):
        self.gate = kwargs["cross_attention_gate"]

    def _attended(self, i, block):
        def hook(_module, _args, output):
            self.tensors[f"decoder.blocks.{i}.cross_attn.pattern"] = output[1]
            attended = output[0].masked_fill((self.gate == 0)[:, :, None], 0.0)
            self.tensors[f"decoder.blocks.{i}.gate_attn"] = block.alpha_cross_attn.tanh() * attended
        return hook

    def _fed(self, i, block):
        def hook(_module, _args, output):
            self.tensors[f"decoder.blocks.{i}.gate_ffn"] = block.alpha_dense.tanh() * output
        return hook

    def _resampled(self, i):
        def hook(module: IdeficsPerceiverAttention, args, _output):
            # transformers keeps this map to itself, so its lines are repeated here.
            context, latents = module.context_layer_norm(args[0]), module.latents_layer_norm(args[1])
            split = lambda x: x.unflatten(-1, (module.n_heads, module.head_dim)).transpose(1, 2)
            q, k = split(module.q_proj(latents)), split(module.k_proj(torch.cat([context, latents], 1)))
            if module.qk_layer_norms:
                q, k = module.q_layer_norm(q), module.k_layer_norm(k)
            self.tensors[f"resampler.blocks.{i}.cross_attn.pattern"] = (q @ k.mT * module.head_dim**-0.5).softmax(-1)
        return hook

    def close(self):
        for hook in self.hooks:
            hook.remove()


def one(folder, c, seed):
    config = IdeficsConfig(**c["text"], vision_config=c["vision"], perceiver_config=c.get("perceiver"),
                           use_resampler="perceiver" in c, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    model = IdeficsForVisionText2Text._from_config(config, attn_implementation="eager").eval()
    randomise(model, seed)
    rng = torch.Generator().manual_seed(seed + 1000)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "alpha" in name:
                p.copy_(torch.randn(p.shape, generator=rng))
            elif name.endswith("embed_tokens.weight") or name.endswith("latents"):
                p.copy_(0.7 * torch.randn(p.shape, generator=rng))
    side = c["vision"]["image_size"]
    pixels = torch.randn((2, len(c["pictures"][0]), 3, side, side), generator=rng)
    ids, mask, images = prompts(rng, c)
    inputs = {"pixel_values": pixels, "input_ids": ids, "attention_mask": mask, "image_attention_mask": images}

    vision = Tower("vision", model.model.vision_model.encoder.layers)
    decoder = Tower("decoder", model.model.layers)
    gated = Gated(model)
    config.vision_config.output_attentions = True
    with torch.no_grad():
        out = model(**inputs)
    config.vision_config.output_attentions = False
    vision.close(), decoder.close(), gated.close()
    media = out.image_hidden_states
    tensors = inputs | vision.tensors() | decoder.tensors() | gated.tensors | {"logits": out.logits, "media": media}

    blocks = model.model.gated_cross_attn_layers
    alphas = [[block.alpha_cross_attn, block.alpha_dense] for block in blocks]
    tensors["gates"] = torch.stack([torch.stack([a.tanh().mean() for a in pair]) for pair in alphas])
    model.generation_config.eos_token_id = None  # twenty tokens in any case
    written = model.generate(**inputs, max_new_tokens=WRITTEN, do_sample=False)
    tensors["generated_ids"] = written[:, ids.shape[1]:]
    again = model.generate(**inputs, max_new_tokens=WRITTEN, do_sample=False, use_cache=False)
    assert torch.equal(written, again)

    kept = [[a.clone() for a in pair] for pair in alphas]
    with torch.no_grad():
        for pair in alphas:
            for a in pair:
                a.zero_()
        tensors["logits.closed"] = model(**inputs).logits
        for pair, old in zip(alphas, kept):
            for a, value in zip(pair, old):
                a.copy_(value)
    save(model, folder, tensors)
    (folder / "generation_config.json").unlink()  # says nothing that the config doesn't


def write(folder):
    for seed, (name, c) in enumerate(CONFIGS.items()):
        one(folder / name, c, seed)
