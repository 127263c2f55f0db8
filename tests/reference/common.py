"""What the families share: random weights with life in them, recording a tower, writing one fixture folder."""

import math
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

transformers.logging.set_verbosity_error()
torch.set_num_threads(1)  # the order of sums, and so the last bits, then don't depend on the machine


def randomise(model, seed, sharpness=6.0):
    """Gives every parameter a value that shows in the output, so that a forgotten bias or norm can't pass a test.

    Query and key weights are `sharpness` times the usual size: attention is then far from uniform.
    """
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=rng)
            if name.endswith("logit_scale"):
                p.copy_(1.0 + 0.5 * noise)
            elif name.endswith("logit_bias"):
                p.copy_(-2.0 + noise)
            elif "norm" in name.lower():
                p.copy_(0.3 * noise + (1.0 if name.endswith("weight") else 0.0))
            elif name.endswith("bias"):
                p.copy_(0.3 * noise)
            elif "embedding" in name and "patch_embedding" not in name or name.endswith("probe"):
                p.copy_(0.5 * noise)
            else:  # linear and convolution weights: keep the size of what passes through
                p.copy_(noise / math.sqrt(p[0].numel()))
                if any(part in name for part in ("q_proj", "k_proj", ".query.", ".key.")):
                    p.mul_(math.sqrt(sharpness))
                if name.endswith(("in_proj_weight", "qkv.weight")):  # queries, keys and values, stacked
                    p[: 2 * p.shape[1]].mul_(math.sqrt(sharpness))


class Tower:
    """Records an encoder's blocks during the next forward pass, under the names of the sites."""

    def __init__(self, name, layers):
        self.name, self.patterns, self.pre, self.post = name, [], [], []
        self.hooks = []
        for layer in layers:
            self.hooks += [
                layer.register_forward_pre_hook(self._before, with_kwargs=True),
                layer.register_forward_hook(self._after),
                layer.self_attn.register_forward_hook(self._attended),
            ]

    def _before(self, _layer, args, kwargs):
        states = args[0] if args else kwargs["hidden_states"]
        if states.requires_grad:
            states.retain_grad()
        self.pre.append(states)

    def _after(self, _layer, _args, output):
        self.post.append(output[0] if isinstance(output, tuple) else output)

    def _attended(self, _attention, _args, output):
        pattern = output[1]  # the very tensor that was multiplied with the values, so its gradient is the pattern's
        if pattern.requires_grad:
            pattern.retain_grad()
        self.patterns.append(pattern)

    def close(self):
        for hook in self.hooks:
            hook.remove()

    def tensors(self):
        out = {}
        for i, (pre, pattern, post) in enumerate(zip(self.pre, self.patterns, self.post, strict=True)):
            block = f"{self.name}.blocks.{i}"
            out |= {f"{block}.resid_pre": pre, f"{block}.self_attn.pattern": pattern, f"{block}.resid_post": post}
            if pattern.grad is not None:
                out[f"{block}.self_attn.pattern.grad"] = pattern.grad
        return out


def rollout(patterns):
    """Attention rollout (Abnar & Zuidema 2020): [batch, tokens, tokens]."""
    eye = torch.eye(patterns[0].shape[-1])
    total = eye.expand(patterns[0].shape[0], -1, -1)
    for pattern in patterns:
        mixed = pattern.mean(1) + eye
        total = (mixed / mixed.sum(-1, keepdim=True)) @ total
    return total


def relevancy(patterns, last_only=False):
    """Relevancy (Chefer et al. 2021) from patterns with gradients: [batch, tokens, tokens]."""
    total = torch.eye(patterns[0].shape[-1]).expand(patterns[0].shape[0], -1, -1)
    for pattern in patterns[-1:] if last_only else patterns:
        total = total + (pattern.grad * pattern).clamp(min=0).mean(1) @ total
    return total


def bimodal_relevancy(score, vision, text, cross):
    """Relevancy of words and patches (Chefer et al. 2021, equations 5 to 10), of batch entry 0: [tokens, positions].

    `vision`, `text` and `cross` are the patterns [batch, heads, queries, keys] of a text encoder that looks at a picture.
    """
    every = [*vision, *text, *cross]
    grads = torch.autograd.grad(score, every, retain_graph=True)
    cams = [(grad * pattern).clamp(min=0).mean(1)[0] for grad, pattern in zip(grads, every, strict=True)]
    vision, text, cross = cams[: len(vision)], cams[len(vision) : len(vision) + len(text)], cams[-len(cross) :]

    def normalised(r):
        eye = torch.eye(len(r))
        rest = r - eye
        total = rest.sum(-1, keepdim=True)
        return torch.where(total > 0, rest / total, rest) + eye

    picture = torch.eye(vision[0].shape[-1])
    for cam in vision:
        picture = picture + cam @ picture
    words = torch.eye(text[0].shape[-1])
    through = torch.zeros(len(words), len(picture))
    for own, looks in zip(text, cross, strict=True):
        through = through + own @ through
        words = words + own @ words
        through = through + normalised(words).T @ looks @ normalised(picture)
    return through


def values(layer, states):
    """What each head of a block offers: [batch, heads, positions, head width]."""
    v = layer.self_attn.v_proj(layer.layer_norm1(states))
    return v.view(*v.shape[:2], layer.self_attn.num_heads, -1).transpose(1, 2)


def surgical_states(layers, pre):
    """CLIP Surgery's second way (Li et al. 2023) beside the upper half of the blocks, before the last norm."""
    start = len(layers) - (len(layers) + 1) // 2
    path = pre[start]
    for layer, states in zip(layers[start:], pre[start:], strict=True):
        v = values(layer, states)
        pattern = (v @ v.transpose(2, 3) * v.shape[-1] ** -0.5).softmax(-1)
        path = path + layer.self_attn.out_proj((pattern @ v).transpose(1, 2).flatten(2))
    return path


def save(model, folder: Path, tensors):
    """An ordinary checkpoint folder, and the inputs and outputs beside it."""
    model.save_pretrained(folder)
    tensors = {name: t.detach().clone().contiguous() for name, t in tensors.items()}
    save_file(tensors, folder / "reference.safetensors")
    size = sum(f.stat().st_size for f in folder.iterdir()) / 1024
    peaks = [t.max(-1).values.mean().item() for name, t in tensors.items() if name.endswith("pattern")]
    print(f"{folder.parent.name}/{folder.name}: {len(tensors)} tensors, {size:.0f} KiB, mean peak of a row of attention "
          + " ".join(f"{p:.2f}" for p in peaks))
