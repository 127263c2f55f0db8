"""A step of training the built-in CLIP: Alignscope against transformers and PyTorch, in turns, on the same machine.

    cargo build --release
    cargo bench --no-run --bench training_step
    .venv/bin/python tests/reference/bench_training.py [--turns 3] [--steps 20]

Both take 128 pictures, each with a text in two languages, through the same model, and take a step of AdamW with the gradient
clipped; both are given finished tensors. Beside that stands `alignscope train clip`, which also draws the scenes of the next step
meanwhile. Printed are pictures a second and the ratio (Alignscope / PyTorch: above one, Alignscope is faster).
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import torch
import transformers
from transformers import CLIPConfig, CLIPModel

ROOT = Path(__file__).parent.parent.parent
PICTURES = 128
TOKENS = 16  # about as many as the longest text of a step has


def ours(steps):
    built = [file for file in ROOT.glob("target/release/deps/training_step-*") if not file.suffix]
    program = max(built, key=os.path.getmtime)
    done = subprocess.run([program, str(steps)], capture_output=True, text=True, check=True)
    return speed(done.stdout)


def with_scenes(steps):
    with tempfile.TemporaryDirectory() as folder:
        command = [ROOT / "target/release/alignscope", "train", "clip", "--steps", str(steps), "-o", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True,
                              env={**os.environ, "ALIGNSCOPE_CHECKPOINTS": str(ROOT / "assets/checkpoints")})
    return speed(done.stdout)


def speed(said):
    return float(re.findall(r"([\d.]+) pictures/s", said)[-1])


def theirs(steps):
    torch.manual_seed(0)
    config = json.loads((ROOT / "assets/checkpoints/clip/config.json").read_text())
    model = CLIPModel(CLIPConfig(**config)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.05)
    pixels = torch.randn(PICTURES, 3, 64, 64)
    ids = torch.randint(4, 234, (2, PICTURES, TOKENS))
    ids[..., 0], ids[..., -1] = 2, 3
    truth = torch.arange(PICTURES)

    def step():
        image = torch.nn.functional.normalize(model.get_image_features(pixels), dim=-1)
        loss = 0
        for language in ids:
            text = torch.nn.functional.normalize(model.get_text_features(language), dim=-1)
            logits = image @ text.T * model.logit_scale.exp()
            loss = loss + torch.nn.functional.cross_entropy(logits, truth) / 4
            loss = loss + torch.nn.functional.cross_entropy(logits.T, truth) / 4
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    step()
    begin = time.perf_counter()
    for _ in range(steps):
        step()
    return PICTURES * steps / (time.perf_counter() - begin)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {torch.get_num_threads()} threads")
    sides = {"a step": ours, "a step, and scenes drawn": with_scenes, "PyTorch": theirs}
    turns = [[side(arguments.steps) for side in sides.values()] for _ in range(arguments.turns)]
    *own, other = (statistics.median(times) for times in zip(*turns))
    for name, middle, times in zip(sides, [*own, other], zip(*turns)):
        print(f"{name:<26} {middle:4.0f} pictures a second ({min(times):.0f} to {max(times):.0f})  {middle / other:.2f}")


if __name__ == "__main__":
    main()
