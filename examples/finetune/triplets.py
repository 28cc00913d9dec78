#!/usr/bin/env python3
"""Makes triplets of a file of IndoNLI (JSON lines of premise, hypothesis and label), on standard output.

A premise is the anchor of its first entailed hypothesis with its first contradicted one, of its
second with its second, and so on. Neutral hypotheses are left out.
"""
import csv
import json
import sys

COLUMNS = ("anchor", "positive", "negative")


def main():
    premises = {}
    with open(sys.argv[1], encoding="utf-8") as file:
        for row in map(json.loads, file):
            by_label = premises.setdefault(row["premise"], {"e": [], "c": [], "n": []})
            by_label[row["label"]].append(row["hypothesis"])
    write = csv.writer(sys.stdout, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None, lineterminator="\n").writerow
    write(COLUMNS)
    for premise, by_label in premises.items():
        for entailed, contradicted in zip(by_label["e"], by_label["c"]):
            write([" ".join(text.split()) for text in (premise, entailed, contradicted)])


if __name__ == "__main__":
    main()
