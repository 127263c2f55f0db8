"""InstructBLIP: BLIP-2 whose Q-Former reads the text too, before LLaMA or T5. Writes `instructblip`."""

import torch
from transformers import InstructBlipConfig, InstructBlipForConditionalGeneration

from blip2 import (CLS, QFORMER, SEP, T5, VISION, answer, build, greedy, padded, pictures, reading, sentence,
                   settle_end, store, try_seeds, words)

LLAMA = dict(model_type="llama", pad_token_id=0, bos_token_id=1, hidden_act="silu", max_position_embeddings=48)

# `side`: where the language model's texts are padded (the Q-Former's always at the end). `ends`: the text ends by
# itself before the last of the new tokens.
CONFIGS = {
    # As with Vicuna: as many heads of keys as of queries, padding in front.
    "llama": dict(
        vision=dict(VISION, hidden_size=20, num_hidden_layers=1, num_attention_heads=4, patch_size=4, image_size=12),
        qformer=dict(QFORMER, hidden_size=16, num_hidden_layers=3, num_attention_heads=4, cross_attention_frequency=2),
        text=dict(LLAMA, hidden_size=24, intermediate_size=26, num_hidden_layers=2, num_attention_heads=3,
                  vocab_size=61, rms_norm_eps=1e-6),
        queries=4, side="left", ends=False,
    ),
    # Two heads of keys for six of queries, one table for reading and writing; every block of the Q-Former looks.
    "llama-grouped": dict(
        vision=dict(VISION, hidden_size=15, num_hidden_layers=1, num_attention_heads=5, patch_size=4, image_size=14,
                    qkv_bias=False),
        qformer=dict(QFORMER, hidden_size=21, num_hidden_layers=2, num_attention_heads=3, cross_attention_frequency=1,
                     hidden_act="gelu_new"),
        text=dict(LLAMA, hidden_size=24, intermediate_size=22, num_hidden_layers=2, num_attention_heads=6,
                  num_key_value_heads=2, vocab_size=47, rms_norm_eps=1e-5, rope_theta=500.0, tie_word_embeddings=True),
        queries=5, side="left", ends=True,
    ),
    # Heads together wider than the model, epsilons that show, padding at the end, pictures narrower than the Q-Former.
    "llama-head-dim": dict(
        vision=dict(VISION, hidden_size=12, num_hidden_layers=1, num_attention_heads=3, patch_size=5, image_size=10,
                    layer_norm_eps=1e-2),
        qformer=dict(QFORMER, hidden_size=18, num_hidden_layers=4, num_attention_heads=2, cross_attention_frequency=3,
                     layer_norm_eps=1e-2),
        text=dict(LLAMA, hidden_size=20, intermediate_size=22, num_hidden_layers=2, num_attention_heads=3, head_dim=8,
                  vocab_size=53, rms_norm_eps=1e-2),
        queries=3, side="right", ends=False,
    ),
    # As with Flan-T5: a gate, a table of its own for writing, and `dense_act_fn`.
    "t5-gated": dict(
        vision=dict(VISION, hidden_size=14, num_hidden_layers=1, num_attention_heads=7, patch_size=4, image_size=12),
        qformer=dict(QFORMER, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, cross_attention_frequency=2),
        text=dict(T5, d_model=16, d_kv=6, num_heads=4, d_ff=20, num_layers=2, num_decoder_layers=2, vocab_size=43,
                  relative_attention_num_buckets=8, relative_attention_max_distance=12,
                  feed_forward_proj="gated-gelu", dense_act_fn="gelu", tie_word_embeddings=False),
        queries=5, side="right", ends=False,
    ),
    # The first T5: ReLU, one table; a picture cut into few patches.
    "t5-relu": dict(
        vision=dict(VISION, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, patch_size=5, image_size=10),
        qformer=dict(QFORMER, hidden_size=15, num_hidden_layers=2, num_attention_heads=5, cross_attention_frequency=2),
        text=dict(T5, d_model=18, d_kv=6, num_heads=3, d_ff=22, num_layers=2, num_decoder_layers=2, vocab_size=57,
                  relative_attention_num_buckets=6, relative_attention_max_distance=9, feed_forward_proj="relu",
                  tie_word_embeddings=True),
        queries=2, side="right", ends=True,
    ),
}


def one(folder, c, seed):
    vocab, queries = c["text"]["vocab_size"], c["queries"]
    config = InstructBlipConfig(vision_config=c["vision"], qformer_config=c["qformer"], text_config=c["text"],
                                num_query_tokens=queries, image_token_index=vocab - 1)
    model = build(InstructBlipForConditionalGeneration, config, seed)
    rng = torch.Generator().manual_seed(seed + 3000)
    pixels = pictures(c, 2, rng)

    def prompt(*counts):
        """Each text twice: for the language model, and as the Q-Former's tokenizer cuts it into fewer words."""
        rows = [sentence(c, count, rng) for count in counts]
        ids, mask = padded(rows, c["text"]["pad_token_id"], c["side"], queries, vocab - 1)
        short = [words(count - 1, c["qformer"]["vocab_size"], rng, [CLS], [SEP]) for count in counts]
        short_ids, short_mask = padded(short, 0)
        return {"input_ids": ids, "attention_mask": mask, "qformer_input_ids": short_ids,
                "qformer_attention_mask": short_mask}

    tensors = reading(model, {"pixel_values": pixels} | prompt(4, 8) | answer(c, rng))
    alone = {name: ids for name, ids in prompt(6).items() if name.endswith("ids")}
    (new,) = settle_end(model, c, lambda: greedy(model, pixel_values=pixels[:1], **alone))
    store(model, folder, tensors | {f"prompt.{name}": ids for name, ids in alone.items()} | {"generated_ids": new})


def write(folder):
    try_seeds(one, folder, CONFIGS)
