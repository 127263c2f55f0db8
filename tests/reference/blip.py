"""BLIP's three classes: both kinds of attention in every tower, the outputs of the heads, and greedy texts.

Writes three folders beside the one it is given: `blip-retrieval`, `blip-captioning`, `blip-answering`.
"""

import itertools

import torch
from torch.nn.functional import normalize
from transformers import (BlipConfig, BlipForConditionalGeneration, BlipForImageTextRetrieval,
                          BlipForQuestionAnswering)

from common import Tower, bimodal_relevancy, randomise, save

PAD, CLS, EOS = 0, 1, 2
NEW_TOKENS = 20
LEAST_DIFFERENT = 6
UNREACHABLE = 10_000  # an id that no model here can write

# `shared`: size of the space of retrieval. `ends`: the text ends by itself before the last of the new tokens.
# Question answering needs texts as wide as pictures, since its decoder looks at the question with the same config.
CONFIGS = {
    # As published: pictures and texts of one width.
    "same-width": dict(
        vision=dict(hidden_size=20, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
                    patch_size=8, image_size=32),
        text=dict(hidden_size=20, intermediate_size=26, num_hidden_layers=2, num_attention_heads=5,
                  vocab_size=61, max_position_embeddings=32),
        shared=16, act="gelu", vision_eps=1e-5, text_eps=1e-12, mask=True, ends=False, tied=True,
    ),
    # As the large ones: pictures are wider than texts. A picture that the patches don't fill to the edge.
    "wide-pictures": dict(
        vision=dict(hidden_size=25, intermediate_size=30, num_hidden_layers=1, num_attention_heads=5,
                    patch_size=6, image_size=21),
        text=dict(hidden_size=16, intermediate_size=22, num_hidden_layers=3, num_attention_heads=2,
                  vocab_size=41, max_position_embeddings=40),
        shared=10, act="quick_gelu", vision_eps=1e-6, text_eps=1e-12, mask=True, ends=True, tied=True,
    ),
    # No masks, one text block, the approximated activation, an output matrix of its own.
    "no-mask": dict(
        vision=dict(hidden_size=20, intermediate_size=36, num_hidden_layers=3, num_attention_heads=2,
                    patch_size=5, image_size=15),
        text=dict(hidden_size=28, intermediate_size=52, num_hidden_layers=1, num_attention_heads=7,
                  vocab_size=53, max_position_embeddings=30),
        shared=24, act="gelu_new", vision_eps=1e-5, text_eps=1e-5, mask=False, ends=True, tied=False,
    ),
    # Epsilons that show, odd numbers of heads, few large patches.
    "large-epsilon": dict(
        vision=dict(hidden_size=18, intermediate_size=38, num_hidden_layers=2, num_attention_heads=3,
                    patch_size=10, image_size=20),
        text=dict(hidden_size=20, intermediate_size=34, num_hidden_layers=2, num_attention_heads=5,
                  vocab_size=71, max_position_embeddings=26),
        shared=12, act="gelu", vision_eps=1e-2, text_eps=2e-2, mask=True, ends=False, tied=True,
    ),
}


class Monotonous(Exception):
    """Many random models write one token again and again, which would test little: take the next seed."""


class TextTower(Tower):
    """Records BERT's blocks during the next forward pass: self-attention, and cross-attention where it is used."""

    def __init__(self, name, layers):
        self.name, self.patterns, self.cross, self.pre, self.post = name, [], [], [], []
        self.hooks = []
        for layer in layers:
            self.hooks += [
                layer.register_forward_pre_hook(self._before, with_kwargs=True),
                layer.register_forward_hook(self._after),
                layer.attention.self.register_forward_hook(self._attended),
                layer.crossattention.self.register_forward_hook(lambda _m, _a, output: self.cross.append(output[1])),
            ]

    def tensors(self):
        cross = {f"{self.name}.blocks.{i}.cross_attn.pattern": pattern for i, pattern in enumerate(self.cross)}
        return super().tensors() | cross


def config(c, wide):
    """`wide`: texts as wide as pictures."""
    text = dict(c["text"], hidden_act=c["act"], layer_norm_eps=c["text_eps"], tie_word_embeddings=c["tied"],
                pad_token_id=PAD, eos_token_id=EOS, bos_token_id=c["text"]["vocab_size"] - 2, sep_token_id=UNREACHABLE)
    if wide:
        text |= dict(hidden_size=c["vision"]["hidden_size"], num_attention_heads=c["vision"]["num_attention_heads"],
                     num_hidden_layers=min(2, text["num_hidden_layers"]))
    return BlipConfig(
        vision_config=dict(c["vision"], hidden_act=c["act"], layer_norm_eps=c["vision_eps"]),
        text_config=text, image_text_hidden_size=c["shared"],
    )


def build(kind, c, seed, wide=False):
    model = kind(config(c, wide)).eval()
    model.set_attn_implementation("eager")
    randomise(model, seed)
    return model


def pictures(c, count, rng):
    side = c["vision"]["image_size"]
    return torch.randn((count, 3, side, side), generator=rng)


def texts(c, lengths, rng, first=CLS):
    """Texts of these lengths, padded at the end: ids and mask."""
    vocab = c["text"]["vocab_size"]
    ids = torch.full((len(lengths), max(lengths)), PAD)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        words = torch.randint(3, vocab - 3, (length - 2,), generator=rng)
        ids[row, :length] = torch.cat([torch.tensor([first]), words, torch.tensor([vocab - 1])])
        mask[row, :length] = 1
    return ids, mask


def settle_end(model, c, write):
    """Chooses the id that ends a text, now that it is known what the model writes; gives the new tokens."""
    free = write()[0].tolist()
    assert len(free) == NEW_TOKENS
    if len(set(free)) < LEAST_DIFFERENT:
        raise Monotonous
    unused = next(i for i in range(3, c["text"]["vocab_size"]) if i not in free)
    # A token that first occurs some way into the text, so that the end isn't at once.
    late = max((free.index(token), token) for token in set(free) if free.index(token) < NEW_TOKENS - 1)[1]
    model.config.text_config.sep_token_id = late if c["ends"] else unused
    new = write()
    assert (new.shape[1] < NEW_TOKENS) == c["ends"], new
    print(f"writes {new[0].tolist()}")
    return new


def greedy(model, prompt_length, **inputs):
    with torch.no_grad():
        out = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False, num_beams=1)
    return out[:, prompt_length:]


def retrieval(folder, c, seed):
    model = build(BlipForImageTextRetrieval, c, seed)
    rng = torch.Generator().manual_seed(seed + 1000)
    pixels = pictures(c, 3, rng)
    ids, mask = texts(c, (7, 4, 9), rng)
    masks = {"attention_mask": mask} if c["mask"] else {}
    inputs = {"pixel_values": pixels, "input_ids": ids} | masks

    vision = Tower("vision", model.vision_model.encoder.layers)
    matching = TextTower("text", model.text_encoder.encoder.layer)
    itm = model(**inputs)
    vision.close(), matching.close()
    alone = TextTower("itc.text", model.text_encoder.encoder.layer)
    itc = model(**inputs, use_itm_head=False)
    alone.close()
    assert not alone.cross and len(matching.cross) == len(matching.patterns)

    save(model, folder, inputs | vision.tensors() | matching.tensors() | alone.tensors() | {
        "vision.last_hidden_state": itm.last_hidden_state,
        "image_embeds": normalize(model.vision_proj(itm.last_hidden_state[:, 0]), dim=-1),
        "text_embeds": normalize(model.text_proj(itc.question_embeds[:, 0]), dim=-1),
        "itc.logits": itc.itm_score,
        "itm.logits": itm.itm_score,
        # Of whether the first text and picture belong together, at the position that says it.
        "relevancy.image": bimodal_relevancy(itm.itm_score[0].softmax(-1)[1], vision.patterns, matching.patterns,
                                             matching.cross)[0, 1:],
    })


def captioning(folder, c, seed):
    model = build(BlipForConditionalGeneration, c, seed)
    rng = torch.Generator().manual_seed(seed + 2000)
    pixels = pictures(c, 2, rng)
    ids, mask = texts(c, (8, 5), rng, first=model.config.text_config.bos_token_id)
    masks = {"attention_mask": mask} if c["mask"] else {}
    inputs = {"pixel_values": pixels, "input_ids": ids} | masks

    vision = Tower("vision", model.vision_model.encoder.layers)
    decoder = TextTower("decoder", model.text_decoder.bert.encoder.layer)
    out = model(**inputs)
    vision.close(), decoder.close()

    # The second picture goes on from a prompt, as the processor gives it: class token, words, separator. `generate`
    # puts the start token in the first place (in the very tensor that it is given) and drops the last one.
    prompt, _ = texts(c, (5,), rng)
    new = settle_end(model, c, lambda: greedy(model, 1, pixel_values=pixels[:1]))
    prompted = greedy(model, 4, pixel_values=pixels[1:], input_ids=prompt.clone())
    save(model, folder, inputs | vision.tensors() | decoder.tensors() | {
        "vision.last_hidden_state": out.last_hidden_state,
        "logits": out.logits,
        "generated_ids": new,
        "prompted.input_ids": prompt,
        "prompted.generated_ids": prompted,
    })


def answering(folder, c, seed):
    model = build(BlipForQuestionAnswering, c, seed, wide=True)
    rng = torch.Generator().manual_seed(seed + 3000)
    pixels = pictures(c, 2, rng)
    ids, mask = texts(c, (6, 9), rng)
    answers, answer_mask = texts(c, (7, 4), rng, first=model.config.text_config.bos_token_id)
    masks = {"attention_mask": mask, "decoder_attention_mask": answer_mask} if c["mask"] else {}
    inputs = {"pixel_values": pixels, "input_ids": ids, "decoder_input_ids": answers} | masks

    vision = Tower("vision", model.vision_model.encoder.layers)
    text = TextTower("text", model.text_encoder.encoder.layer)
    decoder = TextTower("decoder", model.text_decoder.bert.encoder.layer)
    seen = []  # the model keeps the decoder's logits to itself
    hook = model.text_decoder.register_forward_hook(lambda _m, _a, output: seen.append(output.logits))
    out = model(**inputs)
    hook.remove(), vision.close(), text.close(), decoder.close()

    # One question without padding, which the decoder would see.
    question = ids[:1, :6]
    new = settle_end(model, c, lambda: greedy(model, 1, pixel_values=pixels[:1], input_ids=question.clone()))
    save(model, folder, inputs | vision.tensors() | text.tensors() | decoder.tensors() | {
        "vision.last_hidden_state": out.last_hidden_state,
        "logits": seen[0],
        "question.input_ids": question,
        "generated_ids": new,
    })


def write(folder):
    for kind in (retrieval, captioning, answering):
        for first, (name, c) in enumerate(CONFIGS.items()):
            for seed in itertools.count(first, len(CONFIGS)):
                try:
                    kind(folder.with_name(f"blip-{kind.__name__}") / name, c, seed)
                    break
                except Monotonous:
                    continue
