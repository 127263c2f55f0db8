"""Writes the numeric fixtures that the Rust tests compare with (see README.md).

Each family is one module with a function `write(folder)`; add a family here and nowhere else.
"""

import argparse
import importlib
from pathlib import Path

FAMILIES = ["clip", "siglip", "idefics", "blip", "blip2", "instructblip", "llava", "gguf_files", "open_flamingo", "pictures"]

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("families", nargs="*", default=FAMILIES, help=f"which to write (all: {' '.join(FAMILIES)})")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "fixtures")
    args = parser.parse_args()
    for name in args.families:
        importlib.import_module(name).write(args.out / name)
