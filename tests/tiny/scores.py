#!/usr/bin/env python3
"""Scores of pairs of texts by FlagEmbedding's own compute_score, on the tiny model with heads.

    pip download --no-deps FlagEmbedding==1.4.2 && unzip flagembedding-*.whl -d FOLDER
    PYTHONPATH=FOLDER python scores.py

Packages that FlagEmbedding imports only to train are replaced by stand-ins if they are missing. It
gets the model as it wants it, the heads in .pt files, and the tokenizer's own file: transformers 5
would build another pipeline in its place. Each pair is scored alone: in a batch, FlagEmbedding
pads passages with rows of zeros, which raise what is below 0.
"""

import hashlib
import importlib.abc
import importlib.util
import json
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from unittest.mock import MagicMock

import tokenizers
import torch
import transformers
from safetensors.torch import load_file

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "heads"
PAIRS = [
    ("Orang-orang ada di luar.", "Orang-orang ada di luar. Orang-orang ada di luar."),
    ("Orang-orang ada di luar. Orang-orang ada di luar.", "Orang-orang ada di luar."),
    ("a", "c d"),
    ("", "a"),
    ("Orang-orang ada di luar.", ""),
    ("trailing spaces   ", "👩‍👩‍👧‍👦 keluarga 🙂"),
    ("literal <pad> and </s> and <mask> here", "a<pad>a</s>a<unk>a<s>a<mask>a"),
    ("这是一个文本向量化的测试句子", "测试句子"),
]
# The last two have sums of zero, the first of them only for sparse+dense.
WEIGHTS = [None, [1.0, 1.0, 1.0], [0.4, 0.2, 0.4], [1.0, 0.3, 1.0], [0.0, 1.0, 0.0], [0.1, 0.0, 2.5],
           [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    NAMES = {"datasets", "peft", "accelerate", "deepspeed", "ir_datasets", "faiss"}

    def find_spec(self, name, path, target=None):
        return importlib.util.spec_from_loader(name, self) if name.split(".")[0] in self.NAMES else None

    def create_module(self, spec):
        module = MagicMock(name=spec.name)
        module.__path__, module.__spec__ = [], spec
        return module

    def exec_module(self, module):
        pass


def embedder():
    sys.meta_path.append(StandIns())
    from FlagEmbedding.inference.embedder.encoder_only import m3
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(FOLDER / "tokenizer.json"), bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        pad_token="<pad>", cls_token="<s>", sep_token="</s>", mask_token="<mask>", padding_side="right")
    m3.AutoTokenizer = MagicMock()
    m3.AutoTokenizer.from_pretrained.return_value = tokenizer
    with tempfile.TemporaryDirectory() as folder:
        for name in ["config.json", "model.safetensors"]:
            shutil.copy(FOLDER / name, folder)
        heads = {name: load_file(FOLDER / f"{name}.safetensors") for name in ["sparse_linear", "colbert_linear"]}
        for name, weights in heads.items():
            torch.save(weights, f"{folder}/{name}.pt")
        return m3.M3Embedder(folder, use_fp16=False, devices="cpu",
                             colbert_dim=len(heads["colbert_linear"]["bias"])), tokenizer


def main():
    torch.set_num_threads(1)
    model, tokenizer = embedder()
    plain = tokenizers.Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    # JSON has no infinity and no NaN: those are null.
    number = lambda x: float(f"{x:.9g}") if abs(x) < float("inf") else None
    rows = []
    for pair in PAIRS:
        for text in pair:
            assert tokenizer(text)["input_ids"] == plain.encode(text).ids, text
        of_weights = []
        for weights in WEIGHTS:
            try:
                scores = model.compute_score(pair, weights_for_different_modes=weights)
                scores = {name: number(score) for name, score in scores.items()}
            except ZeroDivisionError:
                scores = None
            of_weights.append({"weights": weights, "scores": scores})
        rows.append({"pair": pair, "of_weights": of_weights})
    from FlagEmbedding.inference.embedder.encoder_only import m3
    golden = {
        "packages": {name: version(name) for name in ["torch", "transformers", "tokenizers"]} |
                    {"FlagEmbedding": next(Path(m3.__file__).parents[4].glob("flagembedding-*.dist-info")).stem,
                     "m3.py": hashlib.sha256(Path(m3.__file__).read_bytes()).hexdigest()},
        "rows": rows,
    }
    rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in golden["rows"])
    packages = json.dumps(golden["packages"])
    (HERE.parent / "golden/compute_score.json").write_text(f'{{"packages": {packages}, "rows": [\n{rows}\n]}}\n')


if __name__ == "__main__":
    main()
