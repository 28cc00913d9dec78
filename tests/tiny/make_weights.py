#!/usr/bin/env python3
"""Writes the weights of tiny models in the other forms that people have, into `weights/`.

    pip install -r requirements.txt
    python make_weights.py

The models are those that make.py made; run this after it.
"""

import hashlib
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import XLMRobertaModel

HERE = Path(__file__).resolve().parent
OUT = HERE / "weights"


def rounded(tensors, dtype_of):
    return {name: tensor.to(dtype_of(index)) for index, (name, tensor) in enumerate(tensors.items())}


def shards():
    """As transformers wrote them before safetensors."""
    tensors = load_file(HERE / "prompts/model.safetensors")
    names = sorted(tensors)
    index = {"metadata": {}, "weight_map": {}}
    for number, part in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), 1):
        file = "pytorch_model-%05d-of-00002.bin" % number
        torch.save({name: tensors[name] for name in part}, OUT / file)
        index["weight_map"].update(dict.fromkeys(part, file))
    (OUT / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=2) + "\n")


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    # With what a module's own state_dict carries beside its tensors.
    torch.save(XLMRobertaModel.from_pretrained(HERE / "mean").state_dict(), OUT / "mean.bin")
    tensors = load_file(HERE / "mean/model.safetensors")
    flat = torch.cat([tensor.flatten() for tensor in tensors.values()])
    views, begin = {"position_ids": torch.arange(130).expand(1, -1), "epoch": 3}, 0
    for name, tensor in tensors.items():
        view = flat[begin : begin + tensor.numel()].view(tensor.shape)
        views["roberta." + name] = torch.nn.Parameter(view) if begin % 2 else view
        begin += tensor.numel()
    torch.save(views, OUT / "mean-views.bin", pickle_protocol=4)
    shards()
    kinds = [torch.float32, torch.float16, torch.bfloat16]
    for form, dtype_of in {
        "f16": lambda index: torch.float16,
        "bf16": lambda index: torch.bfloat16,
        # Every tensor of a layer in another type than the one before it.
        "mixed": lambda index: kinds[index % 3],
    }.items():
        lower = rounded(tensors, dtype_of)
        save_file(lower, OUT / f"mean-{form}.safetensors", metadata={"format": "pt"})
        torch.save(lower, OUT / f"mean-{form}.bin")
    versions = json.loads((HERE / "VERSIONS.json").read_text())
    digests = {name: digest for name, digest in versions["sha256"].items() if not name.startswith("weights/")}
    for path in OUT.iterdir():
        digests[str(path.relative_to(HERE))] = hashlib.sha256(path.read_bytes()).hexdigest()
    versions["sha256"] = {name: digests[name] for name in sorted(digests, key=Path)}
    (HERE / "VERSIONS.json").write_text(json.dumps(versions, indent=2) + "\n")


if __name__ == "__main__":
    main()
