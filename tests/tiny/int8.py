#!/usr/bin/env python3
"""Makes the tiny model of 8-bit integers, and what torch computes with it.

    pip install -r requirements.txt
    python int8.py ../../target/release/bge

Run make.py first. `bge quantize` writes the model, of `mean`; everything about its vectors is
computed here anew, from docs/decisions/13-quantized-directories.md: the file's integers, scales and factors in transformers'
own model, with linear layers that round their input as documented.
"""

import json
import subprocess
import sys

import tokenizers
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel

from make import HERE, TOKENIZER, dump, write_versions

SOURCE = HERE / "mean"
FOLDER = HERE / "int8"
WORDS = "embeddings.word_embeddings.weight"
TEXTS = [
    "Orang-orang ada di luar.",
    "",
    "Seorang pria bertopi biru berdiri di persimpangan jalan.",
    "di di luar di luar",
    "orang orang orang",
    "a b c d e f",
]


def rounded(x):
    """Each row as integers from -128 to 127 less a zero, and the size of one step."""
    least, greatest = x.amin(-1, keepdim=True).clamp(max=0), x.amax(-1, keepdim=True).clamp(min=0)
    half = 0.5 * greatest - 0.5 * least
    zero = (-128 - least * (127.5 / half)).round()
    return (x * (127.5 / half) + zero).clamp(-128, 127).round() - zero, half / 127.5


def linear(tensors, name):
    integers = tensors[f"{name}.weight"].double()
    scales, factors, bias = (tensors[f"{name}.{part}"] for part in ("weight_scale", "input_factor", "bias"))

    def forward(x):
        elements, step = rounded(x * factors)
        # The sums are exact.
        return (elements.double() @ integers.T).float() * scales * step + bias

    return forward


def main():
    subprocess.run([sys.argv[1], "quantize", SOURCE, FOLDER], check=True)
    (FOLDER / "tokenizer.json").unlink()
    (FOLDER / "tokenizer.json").symlink_to("../tokenizer.json")
    tensors = load_file(FOLDER / "model.int8.safetensors")
    model = AutoModel.from_config(AutoConfig.from_pretrained(SOURCE), add_pooling_layer=False).eval()
    floats = {name: tensor for name, tensor in tensors.items() if tensor.dtype == torch.float32}
    floats[WORDS] = tensors[WORDS].float() * tensors[f"{WORDS}_scale"][:, None]
    model.load_state_dict({name: floats.get(name, tensor) for name, tensor in model.state_dict().items()})
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.forward = linear(tensors, name)
    tokenizer = tokenizers.Tokenizer.from_file(str(TOKENIZER))
    golden = []
    for text in TEXTS:
        ids = tokenizer.encode(text).ids
        with torch.no_grad():
            states = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        golden.append({"text": text, "dense": states.mean(0).tolist()})
    dump(FOLDER / "golden.json", golden)
    write_versions()


if __name__ == "__main__":
    main()
