"""SiglipModel: both towers, the attention pooling head, the similarity matrix with scale and bias."""

import torch
from transformers import SiglipConfig, SiglipModel

from common import Tower, randomise, save

VOCAB, END, PAD = 99, 1, 1  # SigLIP pads with its end token, and pools at the last place whatever stands there

CONFIGS = {
    # As published: every text padded to the longest allowed, no mask.
    "tanh": dict(
        vision=dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                    patch_size=7, image_size=28),
        text=dict(hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=3,
                  max_position_embeddings=10, projection_size=32),
        act="gelu_pytorch_tanh", eps=1e-6, length=10, mask=False,
    ),
    # The exact gelu, and a mask over the padding.
    "gelu-mask": dict(
        vision=dict(hidden_size=24, intermediate_size=48, num_hidden_layers=3, num_attention_heads=3,
                    patch_size=8, image_size=32),
        text=dict(hidden_size=24, intermediate_size=80, num_hidden_layers=1, num_attention_heads=4,
                  max_position_embeddings=12),
        act="gelu", eps=1e-5, length=9, mask=True,
    ),
    # One vision block with many patches, a text tower wider than the vision tower.
    "wide-text": dict(
        vision=dict(hidden_size=24, intermediate_size=96, num_hidden_layers=1, num_attention_heads=4,
                    patch_size=4, image_size=24),
        text=dict(hidden_size=36, intermediate_size=56, num_hidden_layers=3, num_attention_heads=6,
                  max_position_embeddings=16, projection_size=24),
        act="gelu_pytorch_tanh", eps=1e-6, length=16, mask=False,
    ),
    # A picture that the patches don't fill to the edge (as in so400m-patch14-384), and an epsilon that shows.
    "ragged": dict(
        vision=dict(hidden_size=30, intermediate_size=56, num_hidden_layers=4, num_attention_heads=3,
                    patch_size=12, image_size=40),
        text=dict(hidden_size=16, intermediate_size=72, num_hidden_layers=4, num_attention_heads=2,
                  max_position_embeddings=14, projection_size=30),
        act="gelu_pytorch_tanh", eps=1e-2, length=8, mask=False,
    ),
}


def texts(rng, longest):
    """Three texts of different length: ids and mask, [3, longest]."""
    ids = torch.full((3, longest), PAD)
    mask = torch.zeros((3, longest), dtype=torch.int64)
    for row, length in zip(range(3), (longest - 3, longest, longest - 5)):
        ids[row, : length - 1] = torch.randint(2, VOCAB, (length - 1,), generator=rng)
        ids[row, length - 1] = END
        mask[row, :length] = 1
    return ids, mask


def head_pattern(head, hidden):
    """The weights with which the pooling head looks at the patches: [batch, heads, 1, patches]."""
    probe = head.probe.repeat(hidden.shape[0], 1, 1)
    return head.attention(probe, hidden, hidden, need_weights=True, average_attn_weights=False)[1]


def one(folder, c, seed):
    config = SiglipConfig(
        vision_config=dict(c["vision"], hidden_act=c["act"], layer_norm_eps=c["eps"]),
        text_config=dict(c["text"], hidden_act=c["act"], layer_norm_eps=c["eps"], vocab_size=VOCAB,
                         bos_token_id=0, eos_token_id=END, pad_token_id=PAD),
    )
    model = SiglipModel(config).eval()
    model.set_attn_implementation("eager")  # the one that hands out its patterns
    randomise(model, seed + 50)
    rng = torch.Generator().manual_seed(seed + 1050)
    side = c["vision"]["image_size"]
    pixels = torch.randn((2, 3, side, side), generator=rng)
    ids, mask = texts(rng, c["length"])

    vision = Tower("vision", model.vision_model.encoder.layers)
    text = Tower("text", model.text_model.encoder.layers)
    inputs = {"pixel_values": pixels, "input_ids": ids} | ({"attention_mask": mask} if c["mask"] else {})
    with torch.no_grad():
        out = model(**inputs)
        vision.close(), text.close()
        pattern = head_pattern(model.vision_model.head, out.vision_model_output.last_hidden_state)

    save(model, folder, inputs | vision.tensors() | text.tensors() | {
        "vision.head.pattern": pattern,
        "vision.pooler_output": out.vision_model_output.pooler_output,
        "text.pooler_output": out.text_model_output.pooler_output,
        "image_embeds": out.image_embeds,
        "text_embeds": out.text_embeds,
        "logits_per_image": out.logits_per_image,
        "logits_per_text": out.logits_per_text,
    })


def write(folder):
    for seed, (name, c) in enumerate(CONFIGS.items()):
        one(folder / name, c, seed)
