"""Holds a trace file against transformers: the same checkpoint, pictures and texts, the largest difference of each tensor.

    alignscope trace --checkpoint FOLDER --image A.png --text "a cat" -o trace.safetensors
    python tests/reference/check_trace.py FOLDER trace.safetensors A.png

Everything is prepared by transformers' own tokenizer and image processor; of the trace only the texts are taken. Ends
with status 1 if a tensor is missing, has another shape, or is off by more than 1e-4.
"""

import json
import sys

import torch
from common import Tower
from safetensors import safe_open
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel, SiglipModel
from transformers.image_utils import load_image

CLASSES = {"CLIPModel": CLIPModel, "SiglipModel": SiglipModel}
TOLERANCE = 1e-4


def reference(folder, name, images, texts):
    """What transformers makes of the pictures and texts, under the names of a trace."""
    model = CLASSES[name].from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    processor = AutoImageProcessor.from_pretrained(folder, use_fast=False)
    siglip = name == "SiglipModel"
    length = model.config.text_config.max_position_embeddings
    inputs = tokenizer(texts, padding="max_length" if siglip else True, truncation=True, max_length=length,
                       return_attention_mask=not siglip, return_token_type_ids=False, return_tensors="pt")
    inputs |= processor([load_image(image) for image in images], return_tensors="pt")
    towers = [Tower("vision", model.vision_model.encoder.layers), Tower("text", model.text_model.encoder.layers)]
    found = dict(inputs)
    with torch.no_grad():
        out = model(**inputs, output_attentions=True)
        for tower in towers:
            tower.close()
            found |= tower.tensors()
        if siglip:
            from siglip import head_pattern

            states = out.vision_model_output.last_hidden_state
            found["pooler.blocks.0.cross_attn.pattern"] = head_pattern(model.vision_model.head, states)
    for output in ["logits_per_image", "logits_per_text", "image_embeds", "text_embeds"]:
        found[output] = out[output]
    return found


def main():
    folder, trace, *images = sys.argv[1:]
    with safe_open(trace, "pt") as file:
        notes, ours = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}
    theirs = reference(folder, notes["class"], images, json.loads(notes["texts"]))
    bad = 0
    for name in sorted(theirs.keys() - ours.keys()):
        if "resid" not in name:  # in a trace only where it was asked for
            bad += 1
            print(f"{name:40} is missing in the trace")
    for name, tensor in ours.items():
        if name not in theirs:
            print(f"{name:40} has no counterpart here")
        elif tensor.shape != theirs[name].shape or tensor.dtype != theirs[name].dtype:
            bad += 1
            print(f"{name:40} {list(tensor.shape)} {tensor.dtype}, but {list(theirs[name].shape)} {theirs[name].dtype}")
        else:
            off = (tensor - theirs[name]).abs().max().item()
            bad += not off <= TOLERANCE  # NaN is bad, too
            print(f"{name:40} {str(list(tensor.shape)):20} {off:.1e}")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
