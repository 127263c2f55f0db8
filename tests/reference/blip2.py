"""BLIP-2: retrieval by the Q-Former alone, and writing with OPT or T5 behind it; what InstructBLIP shares with it.

Writes two folders beside the one it is given: `blip2-retrieval` and `blip2-generation`.
"""

import itertools

import torch
from torch.nn.functional import normalize
from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2ForImageTextRetrieval

from blip import LEAST_DIFFERENT, NEW_TOKENS, Monotonous
from common import Tower, randomise, save

CLS, SEP = 1, 2  # of the Q-Former's texts, which are padded with 0

# `picture_token`: how far behind the vocabulary's end the placeholder is; without one the class puts no placeholders
# before a text. The Q-Former's `encoder_hidden_size` is always that of the pictures.
RETRIEVAL = {
    # As published: every second block looks at the picture, which is wider than the text.
    "as-published": dict(
        vision=dict(hidden_size=20, intermediate_size=18, num_hidden_layers=2, num_attention_heads=4, patch_size=4,
                    image_size=12, hidden_act="gelu", layer_norm_eps=1e-6, qkv_bias=True),
        qformer=dict(hidden_size=16, intermediate_size=14, num_hidden_layers=3, num_attention_heads=4, vocab_size=47,
                     max_position_embeddings=20, hidden_act="gelu", layer_norm_eps=1e-12, cross_attention_frequency=2),
        queries=5, shared=10, picture_token=-1, mask=True,
    ),
    # Every block looks; pictures without biases, odd numbers of heads, other activations, a placeholder that has no
    # embedding. A picture that the patches don't fill to the edge.
    "every-block": dict(
        vision=dict(hidden_size=15, intermediate_size=22, num_hidden_layers=2, num_attention_heads=3, patch_size=4,
                    image_size=14, hidden_act="quick_gelu", layer_norm_eps=1e-5, qkv_bias=False),
        qformer=dict(hidden_size=20, intermediate_size=18, num_hidden_layers=2, num_attention_heads=5, vocab_size=37,
                     max_position_embeddings=16, hidden_act="gelu_new", layer_norm_eps=1e-12,
                     cross_attention_frequency=1),
        queries=3, shared=14, picture_token=4, mask=True,
    ),
    # The first and fourth of four blocks look, at pictures narrower than the text; no placeholders.
    "every-third": dict(
        vision=dict(hidden_size=12, intermediate_size=26, num_hidden_layers=2, num_attention_heads=1, patch_size=5,
                    image_size=10, hidden_act="gelu_new", layer_norm_eps=1e-6, qkv_bias=True),
        qformer=dict(hidden_size=15, intermediate_size=18, num_hidden_layers=4, num_attention_heads=3, vocab_size=43,
                     max_position_embeddings=18, hidden_act="relu", layer_norm_eps=1e-5, cross_attention_frequency=3),
        queries=6, shared=12, picture_token=None, mask=True,
    ),
    # Epsilons that show, one query, no mask: the padding is read.
    "large-epsilon": dict(
        vision=dict(hidden_size=18, intermediate_size=20, num_hidden_layers=1, num_attention_heads=3, patch_size=6,
                    image_size=12, hidden_act="gelu", layer_norm_eps=1e-2, qkv_bias=True),
        qformer=dict(hidden_size=14, intermediate_size=20, num_hidden_layers=3, num_attention_heads=7, vocab_size=41,
                     max_position_embeddings=14, hidden_act="silu", layer_norm_eps=2e-2, cross_attention_frequency=2),
        queries=1, shared=16, picture_token=None, mask=False,
    ),
}

VISION = dict(intermediate_size=18, hidden_act="gelu", layer_norm_eps=1e-6, qkv_bias=True)
QFORMER = dict(intermediate_size=14, hidden_act="gelu", layer_norm_eps=1e-12, vocab_size=31, max_position_embeddings=24)
OPT = dict(model_type="opt", pad_token_id=1, bos_token_id=2, activation_function="relu", max_position_embeddings=48)
# Published BLIP-2 has a `bos_token_id` for T5, which has none: the text where no text is given.
T5 = dict(model_type="t5", pad_token_id=0, bos_token_id=1, decoder_start_token_id=0)

# `side`: where a text is padded. `ends`: the text ends by itself before the last of the new tokens.
GENERATION = {
    # As published: pre-norm, ReLU, one table for reading and writing.
    "opt-as-published": dict(
        vision=dict(VISION, hidden_size=20, num_hidden_layers=2, num_attention_heads=5, patch_size=4, image_size=12),
        qformer=dict(QFORMER, hidden_size=16, num_hidden_layers=3, num_attention_heads=4, cross_attention_frequency=2),
        text=dict(OPT, hidden_size=24, ffn_dim=28, num_hidden_layers=2, num_attention_heads=3, vocab_size=61,
                  do_layer_norm_before=True, tie_word_embeddings=True),
        queries=4, side="left", ends=False,
    ),
    # A table of its own for writing, padding at the end, every block of the Q-Former looks.
    "opt-untied": dict(
        vision=dict(VISION, hidden_size=15, num_hidden_layers=1, num_attention_heads=3, patch_size=4, image_size=14,
                    qkv_bias=False),
        qformer=dict(QFORMER, hidden_size=20, num_hidden_layers=2, num_attention_heads=5, cross_attention_frequency=1),
        text=dict(OPT, hidden_size=20, ffn_dim=26, num_hidden_layers=2, num_attention_heads=4, vocab_size=53,
                  do_layer_norm_before=True, tie_word_embeddings=False),
        queries=6, side="right", ends=True,
    ),
    # The norms behind, as in OPT-350M, and no last one.
    "opt-post-norm": dict(
        vision=dict(VISION, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, patch_size=5, image_size=10),
        qformer=dict(QFORMER, hidden_size=14, num_hidden_layers=1, num_attention_heads=7, cross_attention_frequency=2),
        text=dict(OPT, hidden_size=21, ffn_dim=30, num_hidden_layers=2, num_attention_heads=3, vocab_size=47,
                  do_layer_norm_before=False, tie_word_embeddings=True, activation_function="gelu"),
        queries=3, side="left", ends=False,
    ),
    # OPT-350M altogether: words narrower than the model. Here transformers fills the placeholders wrongly (README.md).
    "opt-projected": dict(
        vision=dict(VISION, hidden_size=12, num_hidden_layers=1, num_attention_heads=3, patch_size=5, image_size=11),
        qformer=dict(QFORMER, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, cross_attention_frequency=2),
        text=dict(OPT, hidden_size=20, ffn_dim=28, num_hidden_layers=2, num_attention_heads=5, vocab_size=43,
                  do_layer_norm_before=False, tie_word_embeddings=True, word_embed_proj_dim=12),
        queries=3, side="left", ends=False,
    ),
    # T5's first version: ReLU, one table. Decoder texts long enough that far distances share a bucket.
    "t5-relu": dict(
        vision=dict(VISION, hidden_size=18, num_hidden_layers=1, num_attention_heads=3, patch_size=4, image_size=12),
        qformer=dict(QFORMER, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, cross_attention_frequency=2),
        text=dict(T5, d_model=20, d_kv=5, num_heads=4, d_ff=22, num_layers=2, num_decoder_layers=2, vocab_size=59,
                  relative_attention_num_buckets=8, relative_attention_max_distance=16, feed_forward_proj="relu",
                  tie_word_embeddings=True),
        queries=5, side="right", ends=False,
    ),
    # T5 1.1: a gate with the approximated GELU, a table of its own for writing, heads together wider than the model.
    # Fewer blocks in the decoder than in the encoder; where it has more, `generate` of transformers 4.57.6 fails.
    "t5-gated": dict(
        vision=dict(VISION, hidden_size=14, num_hidden_layers=1, num_attention_heads=7, patch_size=4, image_size=8),
        qformer=dict(QFORMER, hidden_size=18, num_hidden_layers=2, num_attention_heads=3, cross_attention_frequency=2),
        text=dict(T5, d_model=16, d_kv=8, num_heads=3, d_ff=22, num_layers=3, num_decoder_layers=2, vocab_size=41,
                  relative_attention_num_buckets=6, relative_attention_max_distance=7, feed_forward_proj="gated-gelu",
                  tie_word_embeddings=False),
        queries=3, side="right", ends=True,
    ),
    # As published: `dense_act_fn` takes the place of the activation that `feed_forward_proj` asks for.
    "t5-gelu": dict(
        vision=dict(VISION, hidden_size=16, num_hidden_layers=1, num_attention_heads=4, patch_size=5, image_size=16),
        qformer=dict(QFORMER, hidden_size=12, num_hidden_layers=3, num_attention_heads=3, cross_attention_frequency=2),
        text=dict(T5, d_model=20, d_kv=7, num_heads=2, d_ff=20, num_layers=2, num_decoder_layers=2, vocab_size=67,
                  relative_attention_num_buckets=10, relative_attention_max_distance=12,
                  feed_forward_proj="gated-gelu", dense_act_fn="gelu", layer_norm_epsilon=1e-2,
                  tie_word_embeddings=False),
        queries=4, side="left", ends=False,
    ),
}


class Blocks(Tower):
    """Records blocks whose attention modules have other names, and the cross-attention of those blocks that have it.

    `own` and `cross` give a block's modules, `at` says where in their output the map is.
    """

    def __init__(self, name, layers, own, cross=lambda layer: None, at=1):
        self.name, self.patterns, self.cross, self.pre, self.post, self.at = name, [], {}, [], [], at
        self.hooks = []
        for i, layer in enumerate(layers):
            self.hooks += [
                layer.register_forward_pre_hook(self._before, with_kwargs=True),
                layer.register_forward_hook(self._after),
                own(layer).register_forward_hook(lambda _m, _a, output: self.patterns.append(output[self.at])),
            ]
            if cross(layer) is not None:
                self.hooks.append(cross(layer).register_forward_hook(self._crossed(i)))

    def _crossed(self, i):
        def hook(_module, _args, output):
            self.cross[i] = output[self.at]
        return hook

    def tensors(self):
        cross = {f"{self.name}.blocks.{i}.cross_attn.pattern": pattern for i, pattern in self.cross.items()}
        return super().tensors() | cross


class Outputs:
    """Keeps what modules give during the next forward pass, under the names of the arrays."""

    def __init__(self, modules):
        self.found = {}
        self.hooks = [module.register_forward_hook(self._gave(name)) for name, module in modules.items()]

    def _gave(self, name):
        def hook(_module, _args, output):
            self.found[name] = output if torch.is_tensor(output) else output[0]
        return hook

    def close(self):
        for hook in self.hooks:
            hook.remove()

    def tensors(self):
        return self.found


class Embedded(Outputs):
    """Keeps what the language model is given to read."""

    def __init__(self, model):
        self.found = {}
        self.hooks = [model.language_model.register_forward_pre_hook(self._read, with_kwargs=True)]

    def _read(self, _module, _args, kwargs):
        self.found["language.inputs"] = kwargs["inputs_embeds"]


def qformer(name, model):
    """transformers can record these maps itself, but wraps the modules anew at every pass and never unwraps them."""
    return Blocks(name, model.qformer.encoder.layer, lambda layer: layer.attention.attention,
                  lambda layer: layer.crossattention.attention if layer.has_cross_attention else None)


def language(model):
    """The blocks of the language model."""
    inner = model.language_model
    if model.config.use_decoder_only_language_model:
        return [Tower("decoder", (inner.model.decoder if hasattr(inner.model, "decoder") else inner.model).layers)]
    return [Blocks("encoder", inner.encoder.block, lambda layer: layer.layer[0].SelfAttention, at=2),
            Blocks("decoder", inner.decoder.block, lambda layer: layer.layer[0].SelfAttention,
                   lambda layer: layer.layer[1].EncDecAttention, at=2)]


def record(recorders, run):
    """The output of `run`, and what was recorded on the way."""
    with torch.no_grad():
        out = run()
    found = {}
    for recorder in recorders:
        recorder.close()
        found |= recorder.tensors()
    return out, found


def build(kind, config, seed):
    model = kind(config).eval()
    model.set_attn_implementation("eager")
    randomise(model, seed)
    rng = torch.Generator().manual_seed(seed + 500)
    # With one table a model would write what it has just read, or what all texts have in common, again and again.
    tied = config.text_config.tie_word_embeddings
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=rng)
            if name.endswith(("shared.weight", "embed_tokens.weight")):
                p.copy_((0.2 if tied else 0.7) * noise)
            elif name == "query_tokens" or name.endswith(("embed_positions.weight", "relative_attention_bias.weight")):
                p.copy_(0.7 * noise)
            elif tied and name.endswith(("decoder.final_layer_norm.weight", "language_model.model.norm.weight")):
                p.copy_(1.2 * noise)
            elif tied and name.endswith("EncDecAttention.o.weight"):
                p.mul_(0.3)
    return model


def pictures(c, count, rng):
    side = c["vision"]["image_size"]
    return torch.randn((count, 3, side, side), generator=rng)


def padded(rows, pad, side="right", front=0, placeholder=None):
    """Ids and mask of these texts, with `front` placeholders before the padded text, as the processor puts them."""
    longest = max(len(row) for row in rows)
    ids = torch.full((len(rows), front + longest), pad)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        start = front + (longest - len(row) if side == "left" else 0)
        ids[i, start : start + len(row)] = row
        mask[i, start : start + len(row)] = 1
    if front:
        ids[:, :front], mask[:, :front] = placeholder, 1
    return ids, mask


def words(count, vocab, rng, before=(), after=()):
    return torch.cat([torch.tensor(before, dtype=torch.int64), torch.randint(3, vocab - 1, (count,), generator=rng),
                      torch.tensor(after, dtype=torch.int64)])


def sentence(c, count, rng):
    """A text as the language model's tokenizer would give it."""
    kind, vocab = c["text"]["model_type"], c["text"]["vocab_size"]
    return words(count, vocab, rng, *{"opt": ([2], []), "llama": ([1], []), "t5": ([], [1])}[kind])


def settle_end(model, c, *writers):
    """Chooses the id that ends a text, now that it is known what the model writes; gives the new tokens."""
    def end(token):
        inner = model.language_model
        inner.generation_config.eos_token_id = inner.config.eos_token_id = model.config.text_config.eos_token_id = token

    end(None)
    free = [write()[0].tolist() for write in writers]
    assert all(len(new) == NEW_TOKENS for new in free)
    if min(len(set(new)) for new in free) < LEAST_DIFFERENT:
        raise Monotonous
    unused = next(i for i in range(3, c["text"]["vocab_size"]) if not any(i in new for new in free))
    # A token that first occurs some way into the text, so that the end isn't at once.
    late = max((free[0].index(t), t) for t in set(free[0]) if free[0].index(t) < NEW_TOKENS - 1)[1]
    end(late if c["ends"] else unused)
    written = [write() for write in writers]
    assert (written[0].shape[1] < NEW_TOKENS) == c["ends"], written
    print("writes", *(new[0].tolist() for new in written))
    return written


def greedy(model, **inputs):
    """The new tokens alone: an encoder-decoder also gives its start token, the others the prompt with placeholders."""
    with torch.no_grad():
        out = model.generate(**inputs, max_new_tokens=NEW_TOKENS, min_length=0, do_sample=False, num_beams=1)
    if model.language_model.config.is_encoder_decoder:
        return out[:, 1:]
    ids = inputs.get("input_ids")
    return out[:, model.config.num_query_tokens + 1 if ids is None else ids.shape[1]:]


def store(model, folder, tensors):
    save(model, folder, tensors)
    (folder / "generation_config.json").unlink(missing_ok=True)  # it isn't the language model's, and nobody reads it


def retrieval(folder, c, seed):
    token = None if c["picture_token"] is None else c["qformer"]["vocab_size"] + c["picture_token"]
    config = Blip2Config(vision_config=c["vision"], qformer_config=dict(c["qformer"], use_qformer_text_input=True),
                         num_query_tokens=c["queries"], image_text_hidden_size=c["shared"], image_token_index=token)
    model = build(Blip2ForImageTextRetrieval, config, seed)
    rng = torch.Generator().manual_seed(seed + 1000)
    pixels = pictures(c, 3, rng)
    texts = [words(count, c["qformer"]["vocab_size"], rng, [CLS], [SEP]) for count in (4, 2, 6)]
    longest = max(len(text) for text in texts)
    ids, mask = padded(texts, 0, front=0 if token is None else c["queries"], placeholder=token)
    inputs = {"pixel_values": pixels, "input_ids": ids, "attention_mask": mask}
    if not c["mask"]:  # the class wants one
        inputs["attention_mask"] = torch.ones_like(mask)

    outputs = Outputs({"vision.output": model.vision_model, "itm.qformer.output": model.qformer,
                       "itm.logits.queries": model.itm_head})
    recorders = [Tower("vision", model.vision_model.encoder.layers), qformer("itm.qformer", model), outputs]
    itm, found = record(recorders, lambda: model(**inputs, use_image_text_matching_head=True))

    # The class runs the Q-Former twice for the cosines; here one after the other, to record each.
    def passing(name, **given):
        recorders = [qformer(f"{name}.qformer", model), Outputs({f"{name}.qformer.output": model.qformer})]
        return record(recorders, lambda: model.qformer(**given))

    with torch.no_grad():
        itc = model(**inputs)
        embedded = model.embeddings(ids[:, -longest:])
    image, seen = passing("itc.image", query_embeds=model.query_tokens.expand(3, -1, -1),
                          encoder_hidden_states=found["vision.output"])
    text, read = passing("itc.text", query_embeds=embedded, query_length=0,
                         attention_mask=inputs["attention_mask"][:, -longest:])
    assert torch.equal(normalize(model.vision_projection(image[0]), dim=-1), itc.image_embeds)
    assert torch.equal(normalize(model.text_projection(text[0][:, 0]), dim=-1), itc.text_embeds)
    assert not any("cross" in name for name in read) and torch.equal(found["itm.logits.queries"].mean(1), itm[0])

    if not c["mask"]:
        del inputs["attention_mask"]
    store(model, folder, inputs | found | seen | read | {
        "image_embeds": itc.image_embeds,
        "text_embeds": itc.text_embeds,
        "itc.logits": itc.logits_per_image,
        "itm.logits": itm.logits_per_image,
    })


def answer(c, rng):
    """What a decoder of texts reads, if there is one: one length, no padding, long enough for far distances."""
    if c["text"]["model_type"] != "t5":
        return {}
    rows = [words(11, c["text"]["vocab_size"], rng, [c["text"]["decoder_start_token_id"]]) for _ in range(2)]
    return {"decoder_input_ids": torch.stack(rows)}


def reading(model, inputs):
    """One pass of a model that writes, with all that happens in it."""
    recorders = [Tower("vision", model.vision_model.encoder.layers), qformer("qformer", model), *language(model),
                 Outputs({"vision.output": model.vision_model, "qformer.output": model.qformer,
                          "projector.output": model.language_projection}), Embedded(model)]
    # OPT and T5 keep their maps to themselves unless asked; LLaMA gives them to the hooks in any case.
    asked = {} if model.config.text_config.model_type == "llama" else {"output_attentions": True}
    out, found = record(recorders, lambda: model(**inputs, **asked))
    return inputs | found | {"logits": out.logits}


def generation(folder, c, seed):
    vocab, queries = c["text"]["vocab_size"], c["queries"]
    config = Blip2Config(vision_config=c["vision"], qformer_config=c["qformer"], text_config=c["text"],
                         num_query_tokens=queries, image_token_index=vocab - 1)
    model = build(Blip2ForConditionalGeneration, config, seed)
    rng = torch.Generator().manual_seed(seed + 2000)
    pixels = pictures(c, 2, rng)

    def prompt(*counts):
        rows = [sentence(c, count, rng) for count in counts]
        return padded(rows, c["text"]["pad_token_id"], c["side"], queries, vocab - 1)

    ids, mask = prompt(7, 3)
    tensors = reading(model, {"pixel_values": pixels, "input_ids": ids, "attention_mask": mask} | answer(c, rng))
    alone, _ = prompt(5)
    prompted, unprompted = settle_end(model, c, lambda: greedy(model, pixel_values=pixels[:1], input_ids=alone),
                                      lambda: greedy(model, pixel_values=pixels[1:]))
    store(model, folder, tensors | {
        "prompt.input_ids": alone,
        "generated_ids": prompted,
        "unprompted.generated_ids": unprompted,
    })


def try_seeds(write, folder, configs):
    """Writes every configuration with the first seed whose texts aren't monotonous."""
    for first, (name, c) in enumerate(configs.items()):
        for seed in itertools.count(first, len(configs)):
            try:
                write(folder / name, c, seed)
                break
            except Monotonous:
                continue


def write(folder):
    try_seeds(retrieval, folder.with_name("blip2-retrieval"), RETRIEVAL)
    try_seeds(generation, folder.with_name("blip2-generation"), GENERATION)
