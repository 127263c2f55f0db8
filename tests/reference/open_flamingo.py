"""OpenFlamingo: every map, the gates, logits with open and closed gates, greedy writing.

The trained parts (resampler, gated cross-attention) and their order are written out here; the vision encoder is
transformers' CLIPVisionModel. The language models MPT and GPT-NeoX are written out too, the first since transformers
leaves out the norms of queries and keys that MPT-1B has, and the bias that a config asks for; without them they are held
against transformers' MptForCausalLM and GPTNeoXForCausalLM.
"""

import itertools
import json
import math
import shutil
from collections import OrderedDict

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import (CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModel, GPTNeoXConfig, GPTNeoXForCausalLM,
                          MptConfig, MptForCausalLM)

from common import Tower, randomise

WRITTEN = 20
# From one seed that is tried to the next; not the number of configurations, so that one more leaves the others as they are.
STEP = 4

CONFIGS = {
    # Before every block; three heads, whose slopes are those of four; one picture; the language model's own table, of
    # which some rows are left out; the sizes of heads that OpenFlamingo has.
    "every-block": dict(
        mpt=dict(d_model=12, n_heads=3, n_layers=2, vocab_size=61, max_seq_len=64),
        vision=dict(hidden_size=8, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2, image_size=16,
                    patch_size=5, hidden_act="quick_gelu"),
        ours=dict(cross_attn_every_n_layers=1, vocab_size=57, perceiver=dict(num_latents=4, depth=1)),
        trained_table=False, names="short", pictures=[[2], [0]], lengths=[9, 9],
    ),
    # Before every second of five blocks; padding; two pictures; a file of a training run, with the optimizer and the
    # prefix of several processes; the language model in bfloat16, as torch writes it.
    "interval": dict(
        mpt=dict(d_model=16, n_heads=4, n_layers=5, vocab_size=50, max_seq_len=64),
        vision=dict(hidden_size=12, intermediate_size=18, num_hidden_layers=1, num_attention_heads=3, image_size=14,
                    patch_size=7, hidden_act="gelu", layer_norm_eps=1e-3),
        ours=dict(cross_attn_every_n_layers=2, vocab_size=53, cross_attention=dict(heads=3, dim_head=5),
                  perceiver=dict(num_latents=5, depth=2, heads=2, dim_head=7)),
        trained_table=True, names="both", run=True, torch=torch.bfloat16, pictures=[[1, 6], [2, 4]], lengths=[11, 7],
    ),
    # MPT-1B's older names and its norms of queries and keys; learned places of frames and pictures; three pictures; a
    # whole CLIP; half precision.
    "older": dict(
        mpt=dict(d_model=20, n_heads=5, n_layers=3, vocab_size=47, max_seq_len=64, older=True, alibi_bias_max=4),
        vision=dict(hidden_size=10, intermediate_size=24, num_hidden_layers=2, num_attention_heads=1, image_size=13,
                    patch_size=4, hidden_act="quick_gelu"), whole=True,
        ours=dict(cross_attn_every_n_layers=3, vocab_size=50, cross_attention=dict(heads=2, dim_head=6),
                  perceiver=dict(num_latents=3, depth=2, heads=3, dim_head=4, max_num_media=4, max_num_frames=2)),
        trained_table=True, names="long", torch=torch.float32, half=True, pictures=[[3, 5, 8], [4, 6, 7]],
        lengths=[10, 12],
    ),
    # One head everywhere, a last block without gated cross-attention, much padding, two pictures without a word between.
    "one-head": dict(
        mpt=dict(d_model=14, n_heads=1, n_layers=3, vocab_size=40, max_seq_len=64),
        vision=dict(hidden_size=16, intermediate_size=12, num_hidden_layers=1, num_attention_heads=4, image_size=12,
                    patch_size=6, hidden_act="quick_gelu"),
        ours=dict(cross_attn_every_n_layers=2, vocab_size=42, cross_attention=dict(heads=1, dim_head=9),
                  perceiver=dict(num_latents=2, depth=3, heads=1, dim_head=11)),
        trained_table=True, names="short", pictures=[[0, 1], [3, 9]], lengths=[4, 13],
    ),
    # GPT-NeoX, with both of its tables trained; padding; two pictures; the file's long names.
    "gpt-neox": dict(
        neox=dict(hidden_size=24, num_attention_heads=3, num_hidden_layers=4, intermediate_size=40, vocab_size=48,
                  rotary_pct=1.0, rotary_emb_base=500, use_parallel_residual=False, hidden_act="gelu",
                  layer_norm_eps=1e-4, max_position_embeddings=64),
        vision=dict(hidden_size=12, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2, image_size=12,
                    patch_size=4, hidden_act="quick_gelu"),
        ours=dict(cross_attn_every_n_layers=2, vocab_size=51, cross_attention=dict(heads=2, dim_head=8),
                  perceiver=dict(num_latents=3, depth=2, heads=2, dim_head=6)),
        trained_table=True, names="long", pictures=[[1, 5], [2, 6]], lengths=[12, 9],
    ),
    # GPT-NeoX as it was published, of whose tables some rows are left out; heads of two numbers.
    "gpt-neox-frozen": dict(
        neox=dict(hidden_size=10, num_attention_heads=5, num_hidden_layers=3, intermediate_size=16, vocab_size=60,
                  rotary_pct=1.0, use_parallel_residual=False, hidden_act="gelu_new", max_position_embeddings=64),
        vision=dict(hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=10,
                    patch_size=5, hidden_act="quick_gelu"),
        ours=dict(cross_attn_every_n_layers=1, vocab_size=54, perceiver=dict(num_latents=2, depth=1)),
        trained_table=False, names="short", torch=torch.float16, pictures=[[0], [3]], lengths=[8, 8],
    ),
}


def sizes(c):
    """Width and number of blocks of the language model."""
    if "neox" in c:
        return c["neox"]["hidden_size"], c["neox"]["num_hidden_layers"]
    return c["mpt"]["d_model"], c["mpt"]["n_layers"]


def tables(c):
    """The names of the tables of tokens, as they are read and as they are written."""
    if "neox" in c:
        return "gpt_neox.embed_in.weight", "embed_out.weight"
    return "transformer.wte.weight", "transformer.wte.weight"


def trained(rng, c):
    """The trained weights, with OpenFlamingo's short names."""
    ours, (text, layers), seen = c["ours"], sizes(c), c["vision"]["hidden_size"]
    out = OrderedDict()

    def matrix(name, rows, columns, sharp=1.0):
        out[f"{name}.weight"] = torch.randn((rows, columns), generator=rng) * sharp / math.sqrt(columns)

    def norm(name, width):
        out[f"{name}.weight"] = 1.0 + 0.3 * torch.randn(width, generator=rng)
        out[f"{name}.bias"] = 0.3 * torch.randn(width, generator=rng)

    def attention(name, width, keys, heads, dim_head):
        inner, sharp = heads * dim_head, math.sqrt(6.0)
        matrix(f"{name}.to_q", inner, width, sharp)
        matrix(f"{name}.to_kv", 2 * inner, keys)
        out[f"{name}.to_kv.weight"][:inner] *= sharp
        matrix(f"{name}.to_out", width, inner)

    def feed_forward(name, width):
        norm(f"{name}.0", width)
        matrix(f"{name}.1", 4 * width, width)
        matrix(f"{name}.3", width, 4 * width)

    p = dict(heads=8, dim_head=64) | ours["perceiver"]
    out["perceiver.latents"] = 0.7 * torch.randn((p["num_latents"], seen), generator=rng)
    if "max_num_frames" in p:
        out["perceiver.frame_embs"] = 0.7 * torch.randn((p["max_num_frames"], seen), generator=rng)
    if "max_num_media" in p:
        out["perceiver.media_time_embs"] = 0.7 * torch.randn((p["max_num_media"], 1, seen), generator=rng)
    for i in range(p["depth"]):
        layer = f"perceiver.layers.{i}"
        norm(f"{layer}.0.norm_media", seen), norm(f"{layer}.0.norm_latents", seen)
        attention(f"{layer}.0", seen, seen, p["heads"], p["dim_head"])
        feed_forward(f"{layer}.1", seen)
    norm("perceiver.norm", seen)
    heads = dict(heads=8, dim_head=64) | ours.get("cross_attention", {})
    gates = torch.randn(2 * layers, generator=rng)  # one storage for all, as sharded training leaves it
    for i in range(layers):
        if (i + 1) % ours["cross_attn_every_n_layers"] == 0:
            layer = f"lang_encoder.gated_cross_attn_layers.{i}"
            out[f"{layer}.attn_gate"], out[f"{layer}.ff_gate"] = gates[2 * i : 2 * i + 1], gates[2 * i + 1 : 2 * i + 2]
            norm(f"{layer}.attn.norm", text)
            attention(f"{layer}.attn", text, seen, **heads)
            feed_forward(f"{layer}.ff", text)
    if c["trained_table"]:
        for name in dict.fromkeys(tables(c)):
            out[f"lang_encoder.{name}"] = 0.7 * torch.randn((ours["vocab_size"], text), generator=rng)
    return out


def language_neox(rng, c):
    """The weights of the language model, with the names of GPT-NeoX."""
    m, out = c["neox"], OrderedDict()
    width, inner, head = m["hidden_size"], m["intermediate_size"], m["hidden_size"] // m["num_attention_heads"]

    def norm(name):
        out[f"{name}.weight"] = 1.0 + 0.3 * torch.randn(width, generator=rng)
        out[f"{name}.bias"] = 0.3 * torch.randn(width, generator=rng)

    def linear(name, rows, columns):
        out[f"{name}.weight"] = torch.randn((rows, columns), generator=rng) / math.sqrt(columns)
        out[f"{name}.bias"] = 0.3 * torch.randn(rows, generator=rng)

    for name in tables(c):
        out[name] = 0.7 * torch.randn((m["vocab_size"], width), generator=rng)
    for i in range(m["num_hidden_layers"]):
        block = f"gpt_neox.layers.{i}"
        norm(f"{block}.input_layernorm"), norm(f"{block}.post_attention_layernorm")
        linear(f"{block}.attention.query_key_value", 3 * width, width)
        out[f"{block}.attention.query_key_value.weight"].unflatten(0, (-1, 3, head))[:, :2] *= math.sqrt(6.0)
        linear(f"{block}.attention.dense", width, width)
        linear(f"{block}.mlp.dense_h_to_4h", inner, width)
        linear(f"{block}.mlp.dense_4h_to_h", width, inner)
    norm("gpt_neox.final_layer_norm")
    return out


def language(rng, c):
    """The weights of the language model, with its own names."""
    if "neox" in c:
        return language_neox(rng, c)
    m, out = c["mpt"], OrderedDict()
    width = m["d_model"]

    def norm(name):
        out[f"{name}.weight"] = 1.0 + 0.3 * torch.randn(width, generator=rng)

    def matrix(name, rows, columns):
        out[f"{name}.weight"] = torch.randn((rows, columns), generator=rng) / math.sqrt(columns)

    out["transformer.wte.weight"] = 0.7 * torch.randn((m["vocab_size"], width), generator=rng)
    for i in range(m["n_layers"]):
        block = f"transformer.blocks.{i}"
        norm(f"{block}.norm_1")
        matrix(f"{block}.attn.Wqkv", 3 * width, width)
        out[f"{block}.attn.Wqkv.weight"][: 2 * width] *= math.sqrt(6.0)
        if m.get("older"):
            norm(f"{block}.attn.q_ln"), norm(f"{block}.attn.k_ln")
        matrix(f"{block}.attn.out_proj", width, width)
        norm(f"{block}.norm_2")
        matrix(f"{block}.ffn.up_proj", 4 * width, width)
        matrix(f"{block}.ffn.down_proj", width, 4 * width)
    norm("transformer.norm_f")
    return out


class Flamingo:
    """The formulas, over weights by name. `seen` keeps the maps of the last pass under the names of the sites."""

    def __init__(self, c, weights, mpt, vision):
        self.c, self.w, self.mpt, self.vision, self.seen = c, weights, mpt, vision, {}
        table = lambda name: weights.get(f"lang_encoder.{name}", mpt[name][: c["ours"]["vocab_size"]])
        self.tables = tuple(table(name) for name in tables(c))
        self.open = True

    def norm(self, name, x):
        return F.layer_norm(x, x.shape[-1:], self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def feed_forward(self, name, x):
        inner = F.gelu(self.norm(f"{name}.0", x) @ self.w[f"{name}.1.weight"].T)
        return inner @ self.w[f"{name}.3.weight"].T

    def attention(self, name, site, heads, queries, keys, mask=None):
        """Softmax over the keys; `mask` is true where a query sees a key."""
        split = lambda x: x.unflatten(-1, (heads, -1)).transpose(1, 2)
        q = split(queries @ self.w[f"{name}.to_q.weight"].T)
        k, v = (split(x) for x in (keys @ self.w[f"{name}.to_kv.weight"].T).chunk(2, -1))
        scores = q @ k.mT * q.shape[-1] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        pattern = self.seen[f"{site}.cross_attn.pattern"] = scores.softmax(-1)
        return (pattern @ v).transpose(1, 2).flatten(2) @ self.w[f"{name}.to_out.weight"].T

    def media(self, pixels):
        """What the language model gets of [batch, pictures, 3, height, width]."""
        batch, pictures = pixels.shape[:2]
        p = dict(heads=8) | self.c["ours"]["perceiver"]
        x = self.vision(pixels.flatten(0, 1), output_attentions=True).last_hidden_state[:, 1:]  # before the last norm
        x = x.unflatten(0, (batch, pictures))
        if "max_num_frames" in p:
            x = x + self.w["perceiver.frame_embs"][0]
        if "max_num_media" in p:
            x = x + self.w["perceiver.media_time_embs"][:pictures]
        x = x.flatten(0, 1)
        latents = self.w["perceiver.latents"].expand(batch * pictures, -1, -1)
        for i in range(p["depth"]):
            layer = f"perceiver.layers.{i}"
            queries = self.norm(f"{layer}.0.norm_latents", latents)
            keys = torch.cat([self.norm(f"{layer}.0.norm_media", x), queries], 1)
            latents = latents + self.attention(f"{layer}.0", f"resampler.blocks.{i}", p["heads"], queries, keys)
            latents = latents + self.feed_forward(f"{layer}.1", latents)
            self.seen[f"resampler.blocks.{i}.resid_post"] = latents
        return self.norm("perceiver.norm", latents).unflatten(0, (batch, pictures))

    def gated(self, i, at, x, media, time):
        """The gated cross-attention before block i, the at-th of them. `time` is how many pictures came before a token."""
        name, site = f"lang_encoder.gated_cross_attn_layers.{i}", f"decoder.blocks.{at}"
        heads = self.c["ours"].get("cross_attention", dict(heads=8))["heads"]
        of_key = torch.arange(media.shape[1]).repeat_interleave(media.shape[2]) + 1
        mask = (time[:, :, None] == of_key)[:, None]
        queries = self.norm(f"{name}.attn.norm", x)
        added = self.attention(f"{name}.attn", site, heads, queries, media.flatten(1, 2), mask)
        added = added.masked_fill((time == 0)[:, :, None], 0.0)  # OpenFlamingo clears the map itself, to the same end
        added = self.seen[f"{site}.gate_attn"] = self.w[f"{name}.attn_gate"].tanh() * added * self.open
        x = x + added
        added = self.seen[f"{site}.gate_ffn"] = self.w[f"{name}.ff_gate"].tanh() * self.feed_forward(f"{name}.ff", x) * self.open
        return x + added

    def block_neox(self, i, x, bias):
        name, m = f"gpt_neox.layers.{i}", self.c["neox"]
        heads, base = m["num_attention_heads"], m.get("rotary_emb_base", 10000)
        linear = lambda part, x: F.linear(x, self.mpt[f"{name}.{part}.weight"], self.mpt[f"{name}.{part}.bias"])
        norm = lambda part, x: F.layer_norm(x, x.shape[-1:], self.mpt[f"{name}.{part}.weight"],
                                            self.mpt[f"{name}.{part}.bias"], m.get("layer_norm_eps", 1e-5))
        act = {"gelu": F.gelu, "gelu_new": lambda x: F.gelu(x, approximate="tanh")}[m["hidden_act"]]
        self.seen[f"decoder.blocks.{i}.resid_pre"] = x
        stacked = linear("attention.query_key_value", norm("input_layernorm", x)).unflatten(-1, (heads, 3, -1))
        q, k, v = (y.transpose(1, 2) for y in stacked.unbind(3))  # [batch, heads, tokens, head width]
        half = q.shape[-1] // 2
        angles = self.places[:, None, :, None] * base ** (-torch.arange(half) / half)
        turn = lambda y: torch.cat([y[..., :half] * angles.cos() - y[..., half:] * angles.sin(),
                                    y[..., half:] * angles.cos() + y[..., :half] * angles.sin()], -1)
        scores = bias(turn(q) @ turn(k).mT * q.shape[-1] ** -0.5)
        pattern = self.seen[f"decoder.blocks.{i}.self_attn.pattern"] = scores.softmax(-1)
        x = x + linear("attention.dense", (pattern @ v).transpose(1, 2).flatten(2))
        x = x + linear("mlp.dense_4h_to_h", act(linear("mlp.dense_h_to_4h", norm("post_attention_layernorm", x))))
        self.seen[f"decoder.blocks.{i}.resid_post"] = x
        return x

    def block(self, i, x, bias):
        if "neox" in self.c:
            return self.block_neox(i, x, bias)
        name, m = f"transformer.blocks.{i}", self.c["mpt"]
        w = lambda part: self.mpt[f"{name}.{part}.weight"]
        norm = lambda part, x: F.layer_norm(x, x.shape[-1:], w(part))
        self.seen[f"decoder.blocks.{i}.resid_pre"] = x
        q, k, v = (norm("norm_1", x) @ w("attn.Wqkv").T).chunk(3, -1)
        if m.get("older"):
            q, k = norm("attn.q_ln", q), norm("attn.k_ln", k)
        q, k, v = (y.unflatten(-1, (m["n_heads"], -1)).transpose(1, 2) for y in (q, k, v))
        pattern = self.seen[f"decoder.blocks.{i}.self_attn.pattern"] = bias(q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)
        x = x + (pattern @ v).transpose(1, 2).flatten(2) @ w("attn.out_proj").T
        x = x + F.gelu(norm("norm_2", x) @ w("ffn.up_proj").T) @ w("ffn.down_proj").T
        self.seen[f"decoder.blocks.{i}.resid_post"] = x
        return x

    def alibi(self, tokens):
        """What MPT adds to the scores, [heads, 1, keys]."""
        m = self.c["mpt"]
        most, heads = m.get("alibi_bias_max", 8), m["n_heads"]
        power = 2 ** math.ceil(math.log2(heads))
        slopes = [2.0 ** -(most * (i + 1) / power) for i in range(power)]
        slopes = slopes if power == heads else (slopes[1::2] + slopes[::2])[:heads]
        return torch.tensor(slopes)[:, None, None] * torch.arange(1 - tokens, 1)

    def last_norm(self, x):
        if "neox" in self.c:
            name, epsilon = "gpt_neox.final_layer_norm", self.c["neox"].get("layer_norm_eps", 1e-5)
            return F.layer_norm(x, x.shape[-1:], self.mpt[f"{name}.weight"], self.mpt[f"{name}.bias"], epsilon)
        return F.layer_norm(x, x.shape[-1:], self.mpt["transformer.norm_f.weight"])

    def logits(self, ids, mask, media=None, time=None, tables=None, writes=False):
        (read, written), tokens = self.tables if tables is None else tables, ids.shape[1]
        # transformers counts padding among the positions of a pass, and doesn't when it writes.
        self.places = (mask.cumsum(1) - 1).masked_fill(mask == 0, 1) if writes else torch.arange(tokens).expand_as(ids)
        place = 0 if "neox" in self.c else self.alibi(tokens)
        hidden = ~(torch.ones(tokens, tokens).tril().bool() & mask[:, None, None, :].bool())
        bias = lambda scores: (scores + place).masked_fill(hidden, torch.finfo(scores.dtype).min)
        x = self.seen["decoder.embed"] = read[ids]
        every, at = self.c["ours"]["cross_attn_every_n_layers"], 0
        for i in range(sizes(self.c)[1]):
            if media is not None and (i + 1) % every == 0:
                x, at = self.gated(i, at, x, media, time), at + 1
            x = self.block(i, x, bias)
        return self.last_norm(x) @ written.T

    def write(self, ids, mask, media, time):
        """Greedily, all texts at once; a new token sees the last picture. Also gives by how much each token leads."""
        start, lead = ids.shape[1], math.inf
        for _ in range(WRITTEN):
            best, token = self.logits(ids, mask, media, time, writes=True)[:, -1].topk(2)
            lead, token = min(lead, (best[:, 0] - best[:, 1]).min().item()), token[:, :1]
            ids, mask = torch.cat([ids, token], 1), torch.cat([mask, torch.ones_like(token)], 1)
            time = torch.cat([time, time[:, -1:]], 1)
        return ids[:, start:], lead


def prompts(rng, c):
    """Two texts padded in front, with `<image>` at the places of the pictures."""
    known, longest = c["ours"]["vocab_size"], max(c["lengths"])
    ids = torch.zeros((2, longest), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, (length, places) in enumerate(zip(c["lengths"], c["pictures"])):
        start = longest - length
        ids[row, start:] = torch.randint(3, known - 2, (length,), generator=rng)
        ids[row, [start + place for place in places]] = known - 1
        mask[row, start:] = 1
    return ids, mask


def older(name):
    """A name of MPT as MPT-1B had it."""
    return name.replace("norm_", "ln_").replace("ffn.up_proj", "mlp.mlp_up").replace("ffn.down_proj", "mlp.mlp_down")


def long(name, c):
    """The name of a gated cross-attention where it stands in its block."""
    start, _, rest = name.partition("gated_cross_attn_layers.")
    layer, _, rest = rest.partition(".")
    blocks = "gpt_neox.layers" if "neox" in c else "transformer.blocks"
    return f"{start}{blocks}.{layer}.gated_cross_attn_layer.{rest}" if rest else name


def one(folder, c, seed):
    """Writes one fixture; gives whether what the model writes is worth comparing."""
    rng = torch.Generator().manual_seed(seed)
    shutil.rmtree(folder, ignore_errors=True)
    weights, mpt = trained(rng, c), language(rng, c)
    if c.get("half"):
        weights = OrderedDict((name, w.half().float()) for name, w in weights.items())
    stored, is_older = c.get("torch"), "mpt" in c and c["mpt"].get("older")
    if stored is not None:
        mpt = OrderedDict((name, w.to(stored).float()) for name, w in mpt.items())
    if c.get("whole"):
        text = dict(vocab_size=9, hidden_size=4, intermediate_size=4, num_hidden_layers=1, num_attention_heads=1,
                    max_position_embeddings=4)
        clip = CLIPModel(CLIPConfig(text_config=text, vision_config=c["vision"], projection_dim=4))
        randomise(clip, seed)
        clip.save_pretrained(folder / "vision_encoder")
        vision = CLIPVisionModel._from_config(clip.config.vision_config, attn_implementation="eager").eval()
        vision.vision_model.load_state_dict(clip.vision_model.state_dict())
    else:
        vision = CLIPVisionModel._from_config(CLIPVisionConfig(**c["vision"]), attn_implementation="eager").eval()
        randomise(vision, seed)
        vision.save_pretrained(folder / "vision_encoder")

    path = folder / "language_model"
    if is_older:
        path.mkdir(parents=True)
        torch.save(OrderedDict((older(name), w.to(stored)) for name, w in mpt.items()), path / "pytorch_model.bin")
        m = {key: value for key, value in c["mpt"].items() if key != "older"}
        config = m | dict(architectures=["MosaicGPT"], model_type="mosaic_gpt", mlp_ratio=4, attn_qk_ln=True, alibi=True,
                          attn_clip_qkv=None, softmax_scale=None, no_bias=True, logit_scale=None)
        (path / "config.json").write_text(json.dumps(config, indent=2))
    else:
        if "neox" in c:
            model = GPTNeoXForCausalLM._from_config(GPTNeoXConfig(**c["neox"]), attn_implementation="eager").eval()
        else:
            model = MptForCausalLM(MptConfig(**c["mpt"])).eval()
        missing, extra = model.load_state_dict(mpt, strict=False)
        assert missing == ([] if "neox" in c else ["lm_head.weight"]) and not extra, (missing, extra)
        model.tie_weights()
        if stored is None:
            model.save_pretrained(path)
        else:
            path.mkdir(parents=True)
            model.config.save_pretrained(path)
            torch.save(OrderedDict((name, w.to(stored)) for name, w in mpt.items()), path / "pytorch_model.bin")
        (path / "generation_config.json").unlink(missing_ok=True)

    count, side = len(c["pictures"][0]), c["vision"]["image_size"]
    pixels = torch.randn((2, count, 3, side, side), generator=rng)
    ids, mask = prompts(rng, c)
    flamingo = Flamingo(c, weights, mpt, vision)
    if not is_older:  # what is written out here is transformers' own
        some = ids.clamp(max=c.get("neox", c.get("mpt"))["vocab_size"] - 1)
        ours = flamingo.logits(some, mask, tables=tuple(mpt[name] for name in tables(c)))
        theirs = model(some, attention_mask=mask).logits
        assert torch.allclose(ours, theirs, atol=2e-5), (ours - theirs).abs().max()

    flamingo.seen.clear()
    tower = Tower("vision", vision.vision_model.encoder.layers)
    media = flamingo.media(pixels)
    tower.close()
    image = c["ours"]["vocab_size"] - 1
    time = (ids == image).cumsum(1)
    logits = flamingo.logits(ids, mask, media, time)
    gates = [[weights[f"{name[:-9]}{gate}"].tanh()[0] for gate in ("attn_gate", "ff_gate")]
             for name in weights if name.endswith("attn_gate")]
    tensors = {"pixel_values": pixels, "input_ids": ids, "attention_mask": mask, "logits": logits, "media": media,
               "gates": torch.stack([torch.stack(pair) for pair in gates])}
    tensors |= tower.tensors() | flamingo.seen
    written, lead = flamingo.write(ids, mask, media, time)
    if len(written.unique()) < 6 or (written == image).any() or lead < 1e-3:
        return False
    flamingo.open = False
    tensors |= {"logits.closed": flamingo.logits(ids, mask, media, time), "generated_ids": written}

    state = OrderedDict()
    for name, w in weights.items():
        w = w.half() if c.get("half") else w
        if c["names"] != "long":
            state[name] = w
        if c["names"] != "short":
            state[long(name, c)] = w
    if c.get("run"):
        state = OrderedDict((f"module.{name}", w) for name, w in state.items())
        moments = {i: dict(step=torch.tensor(3.0), exp_avg=torch.zeros(2)) for i in range(3)}
        groups = [dict(lr=1e-4, betas=(0.9, 0.999), amsgrad=False, params=[0, 1, 2])]
        state = dict(epoch=1, model_state_dict=state, optimizer_state_dict=dict(state=moments, param_groups=groups),
                     lr_scheduler_state_dict=dict(last_epoch=1 << 40, verbose=False, _last_lr=[1e-4]))
    torch.save(state, folder / "checkpoint.pt")
    config = dict(architectures=["OpenFlamingo"], media_token_id=image, eoc_token_id=image - 1) | c["ours"]
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    tensors = {name: t.detach().clone().contiguous() for name, t in tensors.items()}
    save_file(tensors, folder / "reference.safetensors")
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1024
    peaks = [t.max(-1).values.mean().item() for name, t in tensors.items() if name.endswith("pattern")]
    print(f"{folder.parent.name}/{folder.name}: {len(tensors)} tensors, {size:.0f} KiB, {len(set(written.flatten().tolist()))} "
          f"different tokens, seed {seed}, mean peak of a row of attention " + " ".join(f"{p:.2f}" for p in peaks))
    return True


def write(folder):
    folder = folder.with_name("open-flamingo")
    with torch.no_grad():
        for first, (name, c) in enumerate(CONFIGS.items()):
            next(seed for seed in itertools.count(first, STEP) if one(folder / name, c, seed))
