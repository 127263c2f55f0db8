"""t-SNE and UMAP of a cloud: Alignscope against scikit-learn and umap-learn, in turns, on the same machine.

    cargo bench --no-run --bench reductions
    .venv/bin/python tests/reference/bench_reductions.py [--points 5000] [--turns 3]

Needs `pip install scikit-learn umap-learn`. The vectors are unit vectors in ten groups. Both sides take all threads that they
can with a fixed seed and otherwise their usual values, which are the same: perplexity 30 and 1,000 steps from the principal
components; 15 neighbours and 500 rounds.
"""

import argparse
import glob
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import sklearn
import umap
from sklearn.manifold import TSNE

ROOT = Path(__file__).parent.parent.parent
WIDTH = 128


def cloud(points):
    rng = np.random.default_rng(0)
    vectors = rng.uniform(-1, 1, (points, WIDTH)) / WIDTH**0.5
    vectors[np.arange(points), np.arange(points) % 10] += 2
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("<f4")


def ours(program, file, key):
    done = subprocess.run([program, file, str(WIDTH), key], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[0])


def theirs(vectors, key):
    if key == "t-sne":
        model = TSNE(perplexity=30, init="pca", random_state=0, n_jobs=-1)
    else:
        model = umap.UMAP(random_state=0)
    begin = time.perf_counter()
    model.fit_transform(vectors)
    return 1000 * (time.perf_counter() - begin)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=5000)
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    programs = [file for file in glob.glob(str(ROOT / "target/release/deps/reductions-*")) if os.access(file, os.X_OK)]
    program = max(programs, key=os.path.getmtime)
    vectors = cloud(arguments.points)
    theirs(vectors[:500], "umap")  # numba compiles
    print(f"scikit-learn {sklearn.__version__}, umap-learn {umap.__version__}, {arguments.points} points of {WIDTH} numbers")
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "vectors")
        vectors.tofile(file)
        for key in ("t-sne", "umap"):
            pairs = [(ours(program, file, key), theirs(vectors, key)) for _ in range(arguments.turns)]
            own, other = (statistics.median(side) for side in zip(*pairs))
            spread = " / ".join(f"{min(side):.0f}-{max(side):.0f}" for side in zip(*pairs))
            print(f"{key}: {own:.0f} ms / {other:.0f} ms = {own / other:.2f}  ({spread})")


if __name__ == "__main__":
    main()
