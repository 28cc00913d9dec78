#!/usr/bin/env python3
"""Shows what 8-bit integers cost: the same texts by the same model in fp32 and in int8.

    python benches/quality.py MODEL_DIR [--quantized DIR] [--sts CSV] [--triplets TSV ..]
        [--passages TSV] [--texts 1000]

DIR is what `bge quantize` wrote of MODEL_DIR. Prints the cosine to the vector of each text in fp32 (mean, least), Spearman's correlation with the
gold scores of an STS file (columns text_1, text_2 and correlation), the share of triplets (anchor,
positive, negative) whose positive is nearer by cosine, and how often a question finds its own
passage first (columns question and passage). The files are not part of this repository.
"""

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import scipy.stats

ROOT = Path(__file__).resolve().parents[1]


def encode(model_dir, compute_type, texts):
    command = [ROOT / "target/release/bge", "encode", model_dir, "--compute-type", compute_type]
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    answers = subprocess.run(command, input=lines, stdout=subprocess.PIPE, text=True, check=True).stdout
    vectors = np.array([json.loads(line)["dense"] for line in answers.splitlines()])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def rows(path):
    csv.field_size_limit(sys.maxsize)
    with open(path, newline="", encoding="utf-8") as file:
        if path.endswith(".tsv"):
            return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        return list(csv.DictReader(file))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir")
    parser.add_argument("--quantized")
    parser.add_argument("--sts")
    parser.add_argument("--triplets", nargs="*", default=[])
    parser.add_argument("--passages")
    parser.add_argument("--texts", type=int, default=1000)
    args = parser.parse_args()
    sts = rows(args.sts) if args.sts else []
    triplets = {path: rows(path) for path in args.triplets}
    passages = rows(args.passages) if args.passages else []
    texts = [row[key] for row in sts for key in ("text_1", "text_2")]
    texts += [row[key] for file in triplets.values() for row in file for key in ("anchor", "positive", "negative")]
    texts += [row[key] for row in passages for key in ("question", "passage")]
    place = {text: index for index, text in enumerate(dict.fromkeys(texts))}
    vectors = {name: encode(args.model_dir, name, list(place)) for name in ("fp32", "int8")}
    if args.quantized:
        vectors["quantized"] = encode(args.quantized, "fp32", list(place))
    for name in list(vectors)[1:]:
        cosines = np.sort((vectors["fp32"] * vectors[name]).sum(1)[:args.texts])
        print(f"{name}: cosine of {len(cosines)} texts: mean {cosines.mean():.5f}, least {cosines[0]:.5f}, "
              f"then {cosines[1]:.5f}")
    for name, of in vectors.items():
        pick = lambda file, key: of[[place[row[key]] for row in file]]
        if sts:
            gold = [float(row["correlation"]) for row in sts]
            ours = (pick(sts, "text_1") * pick(sts, "text_2")).sum(1)
            print(f"{name}: STS, Spearman x 100: {100 * scipy.stats.spearmanr(gold, ours).statistic:.2f}")
        for path, file in triplets.items():
            anchor, positive, negative = (pick(file, key) for key in ("anchor", "positive", "negative"))
            nearer = (anchor * positive).sum(1) > (anchor * negative).sum(1)
            print(f"{name}: {Path(path).name}, accuracy x 100: {100 * nearer.mean():.2f}")
        if passages:
            scores = pick(passages, "question") @ pick(passages, "passage").T
            own = np.array([row["passage"] for row in passages])
            found = own[scores.argmax(1)] == own
            print(f"{name}: passages, first x 100: {100 * found.mean():.2f}")


if __name__ == "__main__":
    main()
