"""One pass with every attention map recorded: Alignscope against transformers (eager, f32), in turns, on the same machine.

    cargo bench --no-run --bench against_transformers
    .venv/bin/python tests/reference/bench.py clip-vit-base-patch32 blip-image-captioning-base
    .venv/bin/python tests/reference/bench.py --write blip-image-captioning-base llava-like-1b

Each name is one of `published.py`, or `llava-like-1b`: a checkpoint with random weights at its true size is written to a
temporary folder, and both programs open it. Or it is the folder of a checkpoint, such as `assets/checkpoints/clip`. Printed are
the medians of interleaved passes, the spread, the peak of the memory that each process held, the time from the start of the program
until its first pass was made, and ratios (Alignscope / transformers: below one, Alignscope is faster or smaller). With `--bf16` both
hold the weights in 16 bits, and transformers computes in them, too. With `--write` both write a text with a cache, and tokens a
second are printed (above one, Alignscope is faster).

With `--keep FOLDER` the checkpoints are written there, and nothing else is done: each with the tokenizer of the built-in checkpoint of
its class, so that the window opens them, for `cargo bench --bench answers -- METHOD FOLDER/NAME`.
"""

import argparse
import glob
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import transformers
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from published import LARGE, PUBLISHED

TOKENS = 16
FIRST = 100  # the first of them; the built-in checkpoints know 234
WRITTEN = 33
ROOT = Path(__file__).parent.parent.parent


def llava_like():
    vision = CLIPVisionConfig(**LARGE, image_size=336, projection_dim=768)
    text = LlamaConfig(vocab_size=32064, hidden_size=2048, intermediate_size=5632, num_hidden_layers=16,
                       num_attention_heads=16, num_key_value_heads=16)
    return LlavaForConditionalGeneration, LlavaConfig(vision_config=vision, text_config=text, image_token_index=32000,
                                                      vision_feature_select_strategy="default",
                                                      vision_feature_layer=-2)


def build(name):
    kind, config = llava_like() if name == "llava-like-1b" else PUBLISHED[name]()
    # BLIP's own 1e-10 leaves numbers so small that processors compute them many times slower than any of a trained model.
    config.vision_config.initializer_range = 0.02
    torch.manual_seed(0)
    model = kind(config).eval().float()
    model.set_attn_implementation("eager")
    return model


# The built-in checkpoint of each class, whose words a random one can be asked with.
BUILT_IN = {"CLIPModel": "clip", "BlipForConditionalGeneration": "blip-captioning",
            "Blip2ForImageTextRetrieval": "blip2-retrieval", "LlavaForConditionalGeneration": "llava"}


def keep(name, folder):
    model = build(name)
    words, folder = ROOT / "assets/checkpoints" / BUILT_IN[type(model).__name__], folder / name
    model.save_pretrained(folder)
    for path in words.glob("*.json"):
        if path.name not in ("config.json", "grounding.json"):
            shutil.copy(path, folder)
    config, known = (json.loads((of / "config.json").read_text()) for of in (folder, words))
    texts = [part for part in ("text_config", "qformer_config") if part in config]
    for own, other in [(config, known)] + [(config[part], known.get(part, {})) for part in texts]:
        own.update({key: value for key, value in other.items() if key.endswith(("token_id", "token_index"))})
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    vision = config["vision_config"]
    processor = json.loads((folder / "preprocessor_config.json").read_text())
    for sizes in (processor.get("size"), processor.get("crop_size")):
        sizes and sizes.update(dict.fromkeys(sizes, vision["image_size"]))
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2))
    if (folder / "processor_config.json").is_file():
        processor = json.loads((folder / "processor_config.json").read_text())
        processor["patch_size"] = vision["patch_size"]
        (folder / "processor_config.json").write_text(json.dumps(processor, indent=2))
    print(folder)


def passes(model):
    """A function that makes one pass and gives how many numbers of attention came out."""
    kind = type(model).__name__
    side = model.config.vision_config.image_size
    pixels = torch.randn(1, 3, side, side, dtype=model.dtype)
    ids = torch.arange(FIRST, FIRST + TOKENS)[None]

    def numbers(*groups):
        return sum(pattern.numel() for group in groups for pattern in group or ())

    def clip():
        out = model.vision_model(pixels, output_attentions=True)
        return numbers(out.attentions)

    def blip():
        vision = model.vision_model(pixels, output_attentions=True)
        out = model.text_decoder(ids, encoder_hidden_states=vision[0], output_attentions=True)
        return numbers(vision.attentions, out.attentions, out.cross_attentions)

    def blip2():
        vision = model.vision_model(pixels, output_attentions=True)
        queries = model.query_tokens.expand(1, -1, -1)
        out = model.qformer(query_embeds=queries, encoder_hidden_states=vision[0], output_attentions=True)
        return numbers(vision.attentions, out.attentions)  # those of cross-attention stand among them

    def llava():
        patches = (side // model.config.vision_config.patch_size) ** 2
        places = torch.full((1, patches), model.config.image_token_id)
        # Everything that the call records, the vision tower by itself, since its maps aren't handed on.
        vision = model.model.vision_tower(pixels, output_hidden_states=True, output_attentions=True)
        features = model.model.multi_modal_projector(vision.hidden_states[-2][:, 1:])
        words = model.get_input_embeddings()(torch.cat([places * 0, ids], 1))
        words = torch.cat([features, words[:, patches:]], 1)
        out = model.model.language_model(inputs_embeds=words, output_attentions=True)
        model.lm_head(out.last_hidden_state)
        return numbers(vision.attentions, out.attentions)

    return {"CLIPModel": clip, "BlipForConditionalGeneration": blip, "Blip2ForImageTextRetrieval": blip2,
            "LlavaForConditionalGeneration": llava}[kind]


def writer(model):
    """A function that writes a text about the picture; when each of its tokens came."""
    from transformers.generation.streamers import BaseStreamer

    class Times(BaseStreamer):
        def put(self, value):
            self.came.append(time.perf_counter())

        def end(self):
            pass

    side = model.config.vision_config.image_size
    pixels, times = torch.randn(1, 3, side, side, dtype=model.dtype), Times()
    ids = torch.arange(FIRST, FIRST + TOKENS)[None]
    how = dict(max_new_tokens=WRITTEN, min_new_tokens=WRITTEN, do_sample=False, streamer=times, use_cache=True)

    def blip():
        model.generate(pixels, **how)

    def llava():
        patches = (side // model.config.vision_config.patch_size) ** 2
        places = torch.full((1, patches), model.config.image_token_id)
        model.generate(input_ids=torch.cat([places, ids], 1), pixel_values=pixels, **how)

    def run(write):
        times.came = []
        write()
        came = times.came[-WRITTEN:]  # the prompt may come first, at once
        return came[-1] - came[0], len(came) - 1

    write = {"BlipForConditionalGeneration": blip, "LlavaForConditionalGeneration": llava}.get(type(model).__name__)
    return write and (lambda: run(write))


def serve(folder, dtype):
    """This script as the other side of the turns: the same protocol as the Rust program."""
    begin = time.perf_counter()
    kind = json.loads((Path(folder) / "config.json").read_text())["architectures"][0]
    model = getattr(transformers, kind).from_pretrained(folder, attn_implementation="eager", dtype=dtype).eval()
    one = passes(model)
    print(f"opened {time.perf_counter() - begin:.3f}", flush=True)
    with torch.inference_mode():
        for line in sys.stdin:
            if line.strip() == "pass":
                begin = time.perf_counter()
                maps = one()
                print(f"{(time.perf_counter() - begin) * 1000:.3f} {maps}", flush=True)
            elif line.strip() == "write":
                seconds, tokens = writer(model)()
                print(f"{seconds * 1000:.3f} {tokens}", flush=True)
            elif line.strip() == "peak":
                print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, flush=True)
            else:
                break


class Side:
    def __init__(self, command, threads):
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads),
                           RAYON_NUM_THREADS=str(threads))
        begin = time.perf_counter()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment)
        self.opened = self.answer().split()[1]
        self.from_start = time.perf_counter() - begin

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the program has stopped")
        return line.strip()

    def ask(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self.answer()

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def compare(name, turns, threads, write, precision):
    program = max(glob.glob(str(ROOT / "target/release/deps/against_transformers-*")), key=os.path.getmtime)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(name)
        if not folder.is_dir():
            folder = Path(temporary) / name
            build(name).save_pretrained(folder)
        sides = {"alignscope": Side([program, str(folder), precision], threads),
                 "transformers": Side([sys.executable, __file__, "--serve", str(folder), f"--{precision}"], threads)}
        times = {key: [] for key in sides}
        counts, first = {}, {}
        for turn in range(turns + 1):
            for key, side in sides.items():
                milliseconds, counts[key] = map(float, side.ask("write" if write else "pass").split())
                if turn == 0:  # it warms up
                    first[key] = side.from_start + milliseconds / 1000
                else:
                    times[key].append(counts[key] / milliseconds * 1000 if write else milliseconds)
        peaks = {key: int(side.ask("peak")) for key, side in sides.items()}
        [side.end() for side in sides.values()]
    ours, theirs = (statistics.median(times[key]) for key in sides)
    digits = 1 if write else 0
    spread = {key: f"{min(values):.{digits}f}-{max(values):.{digits}f}" for key, values in times.items()}
    line = (f"| `{name}` | {ours:.{digits}f} ({spread['alignscope']}) | {theirs:.{digits}f} ({spread['transformers']}) "
            f"| {ours / theirs:.2f} |")
    if not write:
        line += (f" {peaks['alignscope'] / 2**30:.2f} / {peaks['transformers'] / 2**30:.2f} "
                 f"| {peaks['alignscope'] / peaks['transformers']:.2f} "
                 f"| {first['alignscope']:.2f} / {first['transformers']:.2f} "
                 f"| {first['alignscope'] / first['transformers']:.2f} |")
    print(line, flush=True)
    if counts["alignscope"] != counts["transformers"]:
        print(f"  numbers of attention, or of tokens, differ: {counts}", flush=True)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("names", nargs="*")
    arguments.add_argument("--turns", type=int, default=9)
    arguments.add_argument("--threads", type=int, default=os.cpu_count())
    arguments.add_argument("--write", action="store_true", help="tokens a second instead of passes")
    arguments.add_argument("--f32", action="store_const", dest="precision", const="f32", default="f32")
    arguments.add_argument("--bf16", action="store_const", dest="precision", const="bf16")
    arguments.add_argument("--keep", type=Path, help="a folder for the checkpoints, which are only written then")
    arguments.add_argument("--serve")
    arguments = arguments.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.serve:
        serve(arguments.serve, {"f32": torch.float32, "bf16": torch.bfloat16}[arguments.precision])
        raise SystemExit
    if arguments.keep:
        for name in arguments.names:
            keep(name, arguments.keep)
        raise SystemExit
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {arguments.threads} threads, "
          f"{arguments.turns} turns, {arguments.precision}\n")
    if arguments.write:
        print("| checkpoint | Alignscope, tokens/s | transformers, tokens/s | ratio |\n|---|---|---|---|")
    else:
        print("| checkpoint | Alignscope, ms | transformers, ms | ratio | memory, GiB | ratio | first pass, s | ratio |")
        print("|---|---|---|---|---|---|---|---|")
    for name in arguments.names:
        compare(name, arguments.turns, arguments.threads, arguments.write, arguments.precision)
