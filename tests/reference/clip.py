"""CLIPModel: both towers, the similarity matrix, gradients of the matching pairs, relevancy and rollout."""

import torch
from transformers import CLIPConfig, CLIPModel

from common import Tower, randomise, relevancy, rollout, save, surgical_states, values

VOCAB, BOS = 99, 96
LEGACY_END = 98  # with eos_token_id 2 in the config, the end is wherever the highest id stands

CONFIGS = {
    # The convention of the first published checkpoints; padded with the end token, as OpenAI's tokenizer does.
    "legacy-end": dict(
        vision=dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                    patch_size=7, image_size=28),
        text=dict(hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=3,
                  max_position_embeddings=16, eos_token_id=2, pad_token_id=LEGACY_END),
        end=LEGACY_END, pad=LEGACY_END, projection=16, act="quick_gelu", eps=1e-5, mask=True,
    ),
    # The newer convention: the first end token; ids above it occur, and the padding is the end token too.
    "first-end": dict(
        vision=dict(hidden_size=24, intermediate_size=48, num_hidden_layers=4, num_attention_heads=2,
                    patch_size=8, image_size=32),
        text=dict(hidden_size=32, intermediate_size=80, num_hidden_layers=1, num_attention_heads=4,
                  max_position_embeddings=12, eos_token_id=50, pad_token_id=50),
        end=50, pad=50, projection=24, act="gelu", eps=1e-5, mask=True,
    ),
    # No attention mask, one vision block, and a picture that the patches don't fill to the edge.
    "no-mask": dict(
        vision=dict(hidden_size=48, intermediate_size=96, num_hidden_layers=1, num_attention_heads=6,
                    patch_size=4, image_size=26),
        text=dict(hidden_size=16, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2,
                  max_position_embeddings=20, eos_token_id=97, pad_token_id=0),
        end=97, pad=0, projection=48, act="quick_gelu", eps=1e-6, mask=False,
    ),
    # An epsilon that shows, an odd number of heads, few large patches.
    "large-epsilon": dict(
        vision=dict(hidden_size=20, intermediate_size=56, num_hidden_layers=3, num_attention_heads=5,
                    patch_size=12, image_size=36),
        text=dict(hidden_size=28, intermediate_size=72, num_hidden_layers=4, num_attention_heads=4,
                  max_position_embeddings=9, eos_token_id=2, pad_token_id=1),
        end=LEGACY_END, pad=1, projection=12, act="gelu", eps=1e-2, mask=True,
    ),
}


def texts(rng, end, pad, longest):
    """Three texts of different length: ids and mask, [3, longest]."""
    ids = torch.full((3, longest), pad)
    mask = torch.zeros((3, longest), dtype=torch.int64)
    for row, length in zip(range(3), (longest - 2, longest - 4, longest)):
        words = torch.randint(3, VOCAB - 3, (length - 2,), generator=rng)
        words[words == end] = 4
        ids[row, :length] = torch.cat([torch.tensor([BOS]), words, torch.tensor([end])])
        mask[row, :length] = 1
    return ids, mask


def one(folder, c, seed):
    config = CLIPConfig(
        vision_config=dict(c["vision"], hidden_act=c["act"], layer_norm_eps=c["eps"]),
        text_config=dict(c["text"], hidden_act=c["act"], layer_norm_eps=c["eps"], vocab_size=VOCAB, bos_token_id=BOS),
        projection_dim=c["projection"],
    )
    model = CLIPModel(config).eval()
    model.set_attn_implementation("eager")  # the one that hands out its patterns
    randomise(model, seed)
    rng = torch.Generator().manual_seed(seed + 1000)
    side = c["vision"]["image_size"]
    pixels = torch.randn((2, 3, side, side), generator=rng)
    ids, mask = texts(rng, c["end"], c["pad"], min(9, c["text"]["max_position_embeddings"]))

    vision = Tower("vision", model.vision_model.encoder.layers)
    text = Tower("text", model.text_model.encoder.layers)
    inputs = {"pixel_values": pixels, "input_ids": ids} | ({"attention_mask": mask} if c["mask"] else {})
    out = model(**inputs, output_attentions=True)
    vision.close(), text.close()
    # A picture's pattern reaches only its own logits: one backward pass serves both pairs.
    (out.logits_per_image[0, 0] + out.logits_per_image[1, 1]).backward()
    end = (ids == c["end"]).int().argmax(-1)
    pairs = torch.arange(2)
    layers = model.vision_model.encoder.layers
    path = model.vision_model.post_layernorm(surgical_states(layers, vision.pre))[:, 1:]
    patches = torch.nn.functional.normalize(model.visual_projection(path), dim=-1)
    # The third text stands in for the empty one.
    own = out.text_embeds[:2] - out.text_embeds[2]
    embed, last = vision.pre[0], vision.pre[-1]

    save(model, folder, inputs | vision.tensors() | text.tensors() | {
        "vision.pooler_output": out.vision_model_output.pooler_output,
        "text.pooler_output": out.text_model_output.pooler_output,
        "image_embeds": out.image_embeds,
        "text_embeds": out.text_embeds,
        "logits_per_image": out.logits_per_image,
        "logits_per_text": out.logits_per_text,
        "relevancy.image": relevancy(vision.patterns)[:, 0, 1:],
        "relevancy.image.last": relevancy(vision.patterns, last_only=True)[:, 0, 1:],
        "relevancy.text": relevancy(text.patterns)[pairs, end[:2]],
        "relevancy.text.last": relevancy(text.patterns, last_only=True)[pairs, end[:2]],
        "surgery.image": (patches * own[:, None]).sum(-1),
        "value_attention.image": (vision.patterns[-1][:, :, 0] * values(layers[-1], last).norm(dim=-1)).mean(1)[:, 1:],
        "gradient_input.image": (embed * embed.grad).sum(-1)[:, 1:],
        "grad_cam.image": (last[:, 1:] * last.grad[:, 1:].mean(1, keepdim=True)).sum(-1).clamp(min=0),
        "rollout.image": rollout(vision.patterns)[:, 0, 1:],
    })


def write(folder):
    for seed, (name, c) in enumerate(CONFIGS.items()):
        one(folder / name, c, seed)
