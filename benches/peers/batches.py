"""Ids to padded batches, and hidden states to vectors, for peers that have neither."""

import json
import os

import numpy as np

SIZE = 32


def prepare(ids, numbers=np.int64):
    """Sorted by length, SIZE texts a batch, padded to the longest: (rows, ids, mask)."""
    order = sorted(range(len(ids)), key=lambda index: -len(ids[index]))
    batches = []
    for start in range(0, len(ids), SIZE):
        rows = order[start:start + SIZE]
        padded = np.ones((len(rows), len(ids[rows[0]])), numbers)
        mask = np.zeros_like(padded)
        for place, row in enumerate(rows):
            padded[place, :len(ids[row])] = ids[row]
            mask[place, :len(ids[row])] = 1
        batches.append((rows, padded, mask))
    return batches


class Pooling:
    def __init__(self, model_dir):
        config = json.loads((model_dir / "1_Pooling/config.json").read_text())
        self.mean = config["pooling_mode_mean_tokens"]

    def vectors(self, batches, run):
        """`run(ids, mask)` gives the hidden state of a batch."""
        vectors = {}
        for rows, ids, mask in batches:
            hidden = run(ids, mask)
            if self.mean:
                # A sum of products, which does not store them.
                pooled = np.matmul(mask[:, None].astype(np.float32), hidden)[:, 0]
                pooled /= mask.sum(1, keepdims=True)
            else:
                pooled = hidden[:, 0]
            pooled = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
            vectors.update(zip(rows, pooled))
        return np.stack([vectors[row] for row in range(len(vectors))]).astype(np.float32)


def made(path, make):
    """`path`, made by `make(part)` under another name first unless it is there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name("part-" + path.name)
        make(part)
        os.rename(part, path)
    return path
