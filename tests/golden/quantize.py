#!/usr/bin/env python3
"""Codes by sentence-transformers' own quantize_embeddings, of version 6 and of the one before.

    pip install sentence-transformers==6.2.0
    pip download --no-deps sentence-transformers==5.1.2 && unzip sentence_transformers-5.1.2-*.whl -d FOLDER
    python quantize.py FOLDER

Writes quantize.json: cases of vectors, ranges or none, and codes by precision; null where that
version refuses, or where what it gives is not defined: numpy leaves open what becomes of a number
that is out of the range of a byte.
"""

import ast
import hashlib
import json
import logging
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from sentence_transformers.util.quantization import quantize_embeddings
from torch import Tensor

HERE = Path(__file__).resolve().parent
OLD = Path(sys.argv[1]) / "sentence_transformers/quantization.py"


def old_function():
    """The function alone: its module imports a package that is another version here."""
    tree = ast.parse(OLD.read_text())
    tree.body = [node for node in tree.body if getattr(node, "name", None) == "quantize_embeddings"]
    names = {"np": np, "Tensor": Tensor, "logger": logging.getLogger("old")}
    exec(compile("from __future__ import annotations\nfrom typing import Literal\n" + ast.unparse(tree), str(OLD), "exec"),
         names)
    return names["quantize_embeddings"]


def cases():
    random = np.random.default_rng(20)
    normal = random.standard_normal((12, 24), np.float32)
    unit = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    yield "unit length", unit, None
    yield "dimensions that are no multiple of 8", unit[:, :13], None
    yield "one dimension", unit[:5, :1], None
    yield "ranges that are wider", unit, np.array([[-1.0] * 24, [1.0] * 24], np.float32)
    yield "a row alone with ranges", unit[:1], np.array([[-1.0] * 24, [1.0] * 24], np.float32)
    yield "a row alone", unit[:1], None
    narrow = np.stack([unit.min(0) / 2, unit.max(0) / 2])
    yield "ranges that are narrower", unit, narrow
    constant = unit[:, :8].copy()
    constant[:, 3], constant[:, 5] = 0.25, 0.0
    yield "a dimension that does not vary", constant, None
    zeros = np.zeros((2, 8), np.float32)
    yield "zeros", zeros, None
    signs = np.array([[0.0, -0.0, 1e-45, -1e-45, 1e-38, -1e-38, 3e38, -3e38], [1, -1, 2, -2, 3, -3, 4, -4]], np.float32)
    yield "the ends of the numbers", signs, None
    yield "a step that is next to nothing", (unit[:, :8] * np.float32(1e-43)).astype(np.float32), None
    grid = np.linspace(0, 1, 256, dtype=np.float32)
    around = np.stack([grid, np.nextafter(grid, np.float32(2)), np.nextafter(grid, np.float32(-2))])
    yield "edges of buckets", np.ascontiguousarray(np.clip(around, 0, 1)[:, ::6]), np.array([[0.0] * 43, [1.0] * 43], np.float32)
    yield "halves", np.array([[0.0, 0.1], [0.5, 0.5], [1.0, 0.9]], np.float32), np.array([[0.0, 0.0], [1.0, 1.0]], np.float32)


def codes(function, vectors, precision, ranges, defined):
    if not defined:
        return None
    try:
        with np.errstate(all="ignore"):
            return [row.tolist() for row in function(vectors, precision, ranges=ranges)]
    except ValueError:
        return None


def is_defined(vectors, ranges, precision):
    """Whether the old formula stays within a byte."""
    if ranges is None:
        ranges = np.stack([vectors.min(0), vectors.max(0)])
    with np.errstate(all="ignore"):
        buckets = (vectors - ranges[0]) / ((ranges[1] - ranges[0]) / 255)
    # A NaN, of a step of zero, has been 0 wherever it was tried.
    return not np.any((buckets <= -1) | (buckets >= 256)) or precision.endswith("binary")


def main():
    old = old_function()
    rows = []
    for name, vectors, ranges in cases():
        assert vectors.dtype == np.float32 and (ranges is None or ranges.dtype == np.float32)
        row = {"name": name, "vectors": vectors.tolist(), "ranges": None if ranges is None else ranges.tolist()}
        for precision in ["int8", "uint8", "binary", "ubinary"]:
            row[precision] = codes(quantize_embeddings, vectors, precision, ranges, True)
            row[f"{precision} before 6"] = codes(old, vectors, precision, ranges, is_defined(vectors, ranges, precision))
        rows.append(row)
    packages = {"sentence-transformers": version("sentence-transformers"), "numpy": version("numpy"),
                "quantization.py of 5.1.2": hashlib.sha256(OLD.read_bytes()).hexdigest()}
    lines = ",\n".join(json.dumps(row) for row in rows)
    (HERE / "quantize.json").write_text(f'{{"packages": {json.dumps(packages)}, "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
