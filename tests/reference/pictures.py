"""Photographs of odd sizes in several formats, and what transformers' image processors make of them."""

import io
import json
import struct
import zlib

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from skimage import data
from transformers import BlipImageProcessor, CLIPImageProcessor, IdeficsImageProcessor, SiglipImageProcessor
from transformers.image_utils import load_image

# Every picture goes through these; they are kept as ordinary preprocessor_config.json files.
PROCESSORS = {
    "clip": CLIPImageProcessor(size={"shortest_edge": 56}, crop_size=56),
    "clip-odd": CLIPImageProcessor(size=47, crop_size={"height": 40, "width": 45}, resample=2),
    "clip-padded": CLIPImageProcessor(size=30, crop_size={"height": 41, "width": 36}),
    "clip-crop-only": CLIPImageProcessor(do_resize=False, crop_size=48),
    "siglip": SiglipImageProcessor(size={"height": 48, "width": 48}),
    "blip": BlipImageProcessor(size={"height": 40, "width": 36}),
    "idefics": IdeficsImageProcessor(image_size=28),
}
# These only see the first three pictures.
FILTERS = {
    name: SiglipImageProcessor(size={"height": 28, "width": 36}, resample=number)
    for name, number in {"nearest": 0, "lanczos": 1, "bilinear": 2, "box": 4, "hamming": 5}.items()
} | {"enlarged": SiglipImageProcessor(size={"height": 150, "width": 20}, image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6])}


def deep_png(pixels):
    """A PNG with 16 bits a channel from [height, width, 3] or [height, width]; Pillow can't write the former."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2 if pixels.ndim == 3 else 0, 0, 0, 0)

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def encoded(pixels, kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def pictures():
    astronaut, chelsea, coffee, rocket = data.astronaut(), data.chelsea(), data.coffee(), data.rocket()
    rng = np.random.default_rng(0)
    alpha = np.dstack([rocket[60:140, 250:314], np.tile(np.linspace(0, 255, 64).astype(np.uint8), (80, 1))])
    deep = astronaut[100:130, 200:240].astype(np.uint16) * 256 + rng.integers(0, 256, (30, 40, 3), dtype=np.uint16)
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held upright: the top of the picture is the file's right side
    return {
        "portrait.png": encoded(astronaut[20:302:2, 130:324:2], "PNG", optimize=True),
        "landscape.jpg": encoded(coffee[50:153, 200:381], "JPEG", quality=92),
        "thin.png": encoded(chelsea[60:257, 200:203], "PNG"),
        "grey.png": encoded(chelsea[80:141, 120:213, 1], "PNG", optimize=True),
        "alpha.png": encoded(alpha, "PNG", optimize=True),
        "deep.png": deep_png(deep),
        "deep-grey.png": deep_png(deep[:, :, 1]),
        "turned.jpg": encoded(astronaut[0:111, 150:301], "JPEG", quality=90, exif=turned),
        "progressive.jpg": encoded(chelsea[50:150, 100:225], "JPEG", quality=80, progressive=True, subsampling="4:2:0"),
        "grey.jpg": encoded(chelsea[50:123, 100:197, 0], "JPEG", quality=85),
        "lossless.webp": encoded(coffee[100:161, 250:327], "WEBP", lossless=True),
        "lossy.webp": encoded(coffee[200:301, 300:401], "WEBP", quality=85),
        "palette.gif": encoded(np.array(Image.fromarray(coffee[100:163, 250:335]).quantize(64).convert("RGB")), "GIF"),
        "plain.bmp": encoded(rocket[60:107, 280:333], "BMP"),
    }


def opened(path):
    """The picture as transformers' own loader gives it: upright, RGB."""
    if path.name == "deep-grey.png":  # Pillow clips 16-bit grey at 255, to white; the high byte is what is meant
        return Image.fromarray((np.array(Image.open(path)) >> 8).astype(np.uint8)).convert("RGB")
    return load_image(str(path))


def steps(processor, picture):
    """The pixels before normalisation [height, width, 3] and the values [3, height, width]."""
    if isinstance(processor, IdeficsImageProcessor):  # it can't be told to skip the normalisation
        values = processor(picture, return_tensors="np")
        side = processor.image_size
        pixels = np.array(picture.resize((side, side), Image.Resampling.BICUBIC))
    else:
        values = processor(picture, return_tensors="np")["pixel_values"]
        pixels = processor(picture, do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"][0]
        assert (pixels == pixels.round()).all()
        pixels = pixels.transpose(1, 2, 0).astype(np.uint8)
    values = np.asarray(values, dtype=np.float32).reshape(3, *pixels.shape[:2])
    return torch.from_numpy(pixels.copy()), torch.from_numpy(values.copy())


def write(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, processor in (PROCESSORS | FILTERS).items():
        processor.save_pretrained(folder / "processors" / name)
    expected = {}
    for number, (file, content) in enumerate(pictures().items()):
        (folder / file).write_bytes(content)
        picture = opened(folder / file)
        expected[f"{file}/decoded"] = torch.from_numpy(np.array(picture))
        for name, processor in (PROCESSORS | (FILTERS if number < 3 else {})).items():
            pixels, values = steps(processor, picture)
            expected[f"{file}/{name}/pixels"] = pixels
            if number == 0:
                expected[f"{file}/{name}/values"] = values
    save_file(expected, folder / "expected.safetensors")
    sizes = {f.name: f.stat().st_size for f in sorted(folder.iterdir()) if f.is_file()}
    print(f"pictures: {json.dumps(sizes)}")
