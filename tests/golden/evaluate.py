#!/usr/bin/env python3
"""Measures of vectors by sentence-transformers' own evaluators, of a current version and of 3.0.1.

    pip install sentence-transformers==6.2.0 && python evaluate.py
    pip download --no-deps sentence-transformers==3.0.1 && unzip sentence_transformers-3.0.1-*.whl -d FOLDER
    python evaluate.py FOLDER

Each run writes its part of evaluate.json, and keeps the other's. A text is the number of a row; a
stand-in for a model gives that row. Numbers are multiples of 1/64, so that some scores are equal, and
rows that appear twice make equal scores in every metric. JSON has no NaN: that is null.
"""

import hashlib
import inspect
import json
import math
import sys
import types
from importlib.metadata import version
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import torch

OLD = len(sys.argv) > 1
if OLD:
    # Without what the package itself imports, which wants transformers of its time.
    package = types.ModuleType("sentence_transformers")
    package.__path__ = [str(Path(sys.argv[1]) / "sentence_transformers")]
    sys.modules["sentence_transformers"] = package
from sentence_transformers import util
from sentence_transformers.evaluation import (EmbeddingSimilarityEvaluator, InformationRetrievalEvaluator,
                                              TripletEvaluator)

FILE = Path(__file__).resolve().parent / "evaluate.json"
METRICS = ["cosine", "dot", "euclidean", "manhattan"]
DIM = 8


def rows(random, count, unit=False):
    numbers = np.round(random.standard_normal((count, DIM)) * 64) / 64
    if unit:
        numbers /= np.linalg.norm(numbers, axis=1, keepdims=True)
    return numbers.astype(np.float32)


def cases():
    random = np.random.default_rng(3)
    triplets = []
    for unit in [False, True]:
        anchors, positives, negatives = (rows(random, 60, unit) for _ in range(3))
        positives = positives if unit else anchors + positives / 2
        # Ties: equal in every metric.
        positives[::7] = negatives[::7]
        triplets.append({"anchors": anchors, "positives": positives, "negatives": negatives})
    first = rows(random, 1)
    triplets.append({"anchors": first, "positives": first, "negatives": first})
    pairs = []
    a = rows(random, 50)
    b = np.where(np.arange(50)[:, None] % 3 == 0, a, 0).astype(np.float32) + rows(random, 50)
    # The grades have ties, as those of STS do, and so have the scores.
    a[40:], b[40:] = a[:10], b[:10]
    grades = np.round(random.random(50) * 20) / 4
    pairs.append({"a": a, "b": b, "grades": grades})
    pairs.append({"a": a, "b": b, "grades": np.full(50, 2.5)})
    pairs.append({"a": np.repeat(a[:1], 9, 0), "b": np.repeat(b[:1], 9, 0), "grades": grades[:9]})
    pairs.append({"a": a[:2], "b": b[:2], "grades": grades[:2]})
    retrieval = []
    for passages, most, equal in [(150, 12, False), (150, 12, True), (4, 2, False)]:
        corpus = rows(random, passages)
        if equal:
            corpus[100:] = corpus[:50]
        relevant = [sorted(random.choice(passages, random.integers(1, most + 1), replace=False).tolist())
                    for _ in range(15)]
        queries = np.stack([corpus[of[0]] / 2 + row for of, row in zip(relevant, rows(random, 15))])
        retrieval.append({"queries": queries.astype(np.float32), "corpus": corpus, "relevant": relevant})
    return {"triplets": triplets, "pairs": pairs, "retrieval": retrieval}


def model(rows_of):
    """`rows_of`: the row of each text."""
    def encode(texts, convert_to_tensor=False, **_):
        found = np.stack([rows_of[text] for text in texts])
        return torch.from_numpy(found) if convert_to_tensor else found
    return types.SimpleNamespace(encode=encode, encode_query=encode, encode_document=encode, similarity_fn_name="cosine",
                           similarity=util.cos_sim, model_card_data=MagicMock())


def texts(kind, rows_of, numbers):
    names = [f"{kind}{index:04}" for index in range(len(numbers))]
    rows_of.update(zip(names, numbers))
    return names


def plain(metrics):
    return {name: None if math.isnan(value) else float(value) for name, value in metrics.items()}


def measure(all_cases):
    options = {} if OLD else {"similarity_fn_names": METRICS}
    made = {"triplets": [], "pairs": [], "retrieval": []}
    for case in all_cases["triplets"]:
        rows_of = {}
        names = [texts(kind, rows_of, case[kind]) for kind in ["anchors", "positives", "negatives"]]
        made["triplets"].append(plain(TripletEvaluator(*names, write_csv=False, **options)(model(rows_of))))
    for case in all_cases["pairs"]:
        rows_of = {}
        a, b = (texts(kind, rows_of, case[kind]) for kind in "ab")
        evaluator = EmbeddingSimilarityEvaluator(a, b, case["grades"].tolist(), write_csv=False, **options)
        made["pairs"].append(plain(evaluator(model(rows_of))))
    for case in all_cases["retrieval"]:
        rows_of = {}
        queries, corpus = (texts(kind, rows_of, case[kind]) for kind in ["queries", "corpus"])
        relevant = {name: {corpus[passage] for passage in of} for name, of in zip(queries, case["relevant"])}
        functions = {"cosine": util.cos_sim, "dot": util.dot_score}
        evaluator = InformationRetrievalEvaluator(
            {name: name for name in queries}, {name: name for name in corpus}, relevant, write_csv=False,
            score_functions=functions)
        made["retrieval"].append(plain(evaluator(model(rows_of))))
    return made


def main():
    torch.set_num_threads(1)
    all_cases = cases()
    files = {Path(inspect.getfile(of)).name: hashlib.sha256(Path(inspect.getfile(of)).read_bytes()).hexdigest()
             for of in [TripletEvaluator, EmbeddingSimilarityEvaluator, InformationRetrievalEvaluator]}
    names = ["torch", "numpy", "scipy", "scikit-learn"]
    of_package = (next(Path(sys.argv[1]).glob("*.dist-info")).stem.split("-")[1] if OLD else
                  version("sentence-transformers"))
    packages = {"sentence-transformers": of_package, **{name: version(name) for name in names}}
    part = {"packages": packages, "sha256": files, **measure(all_cases)}
    kept = json.loads(FILE.read_text())["by"] if FILE.exists() else {}
    kept["3.0" if OLD else "current"] = part
    listed = json.loads(json.dumps(all_cases, default=lambda array: array.tolist()))
    lines = [f'"{kind}": [\n' + ",\n".join(json.dumps(case) for case in of) + "\n]" for kind, of in listed.items()]
    by = ",\n".join(f'"{name}": {json.dumps(part)}' for name, part in sorted(kept.items()))
    FILE.write_text("{" + ",\n".join(lines) + f',\n"by": {{\n{by}\n}}}}\n')


if __name__ == "__main__":
    main()
