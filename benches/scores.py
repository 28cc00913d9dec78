#!/usr/bin/env python3
"""Times the scores of sparse weights and multi-vectors against numpy and scipy.

    python benches/scores.py [--threads 1] [--repeat 41]

It needs numpy, scipy and a built libbge, and no model: numbers are random. Both sides get the same
arrays, in the layout of bge_encode, and the same threads (scipy's sparse products have one). Forms
run in turns, scores are compared before anything is timed, and the ratio is that of the fastest
form of the peer: above 1, libbge is faster. Prints the median and range of the ratio over the
repetitions.
"""

import argparse
import ctypes
import os
import statistics
import sys
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--repeat", type=int, default=41)
args = parser.parse_args()
# Read when numpy is imported.
os.environ["OPENBLAS_NUM_THREADS"] = str(args.threads)

import numpy as np  # noqa: E402
import scipy.sparse  # noqa: E402

LIBRARY = ctypes.CDLL(str(Path(__file__).resolve().parents[1] / "target/release/libbge.so"))
DIM, QUERY_ROWS, ROWS = 1024, 32, 512
VOCABULARY, ENTRIES = 250_002, 100


class Options(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("threads", ctypes.c_uint32), ("strides", ctypes.c_size_t * 3)]


def call(function, *values):
    """Arrays as pointers, numbers as size_t."""
    error = ctypes.create_string_buffer(1024)
    as_c = [ctypes.c_void_p(value.ctypes.data) if isinstance(value, np.ndarray) else value for value in values]
    as_c = [ctypes.c_size_t(value) if isinstance(value, int) else value for value in as_c]
    if function(*as_c, error):
        sys.exit(error.raw[16:].split(b"\0")[0].decode())


OPTIONS = ctypes.byref(Options(struct_size=ctypes.sizeof(Options), threads=args.threads))


def offsets(texts, width):
    return np.arange(texts + 1, dtype=np.uint64) * width


def multi(random, documents):
    query = random.standard_normal((QUERY_ROWS, DIM), np.float32)
    rows = random.standard_normal((documents, ROWS, DIM), np.float32)
    query /= np.linalg.norm(query, axis=-1, keepdims=True)
    rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
    flat = rows.reshape(-1, DIM)
    scores = np.empty((1, documents), np.float32)
    query_offsets, row_offsets = offsets(1, QUERY_ROWS), offsets(documents, ROWS)

    def ours():
        call(LIBRARY.bge_similarity_multi, query_offsets, query, 1, row_offsets, rows, documents, DIM, OPTIONS, scores)
        return scores

    forms = {
        "(q @ d.T).max(1).mean()": lambda: [(query @ document.T).max(1).mean() for document in rows],
        "(d @ q.T).max(0).mean()": lambda: [(document @ query.T).max(0).mean() for document in rows],
        "batched matmul": lambda: (query @ rows.transpose(0, 2, 1)).max(2).mean(1),
        "one product": lambda: (flat @ query.T).reshape(documents, ROWS, QUERY_ROWS).max(1).mean(1),
        "einsum": lambda: np.einsum("qd,nkd->nkq", query, rows, optimize=True).max(1).mean(1),
    }
    return ours, forms


def sparse(random, queries, documents, shared):
    """`shared`: how many of a document's entries are of tokens that a query has."""
    def texts(count):
        ids = [np.sort(random.choice(VOCABULARY, ENTRIES, replace=False)) for _ in range(count)]
        return np.concatenate(ids).astype(np.uint32), random.random(count * ENTRIES, np.float32)

    def matrix(ids, weights, count):
        return scipy.sparse.csr_matrix((weights, ids.astype(np.int32), offsets(count, ENTRIES).astype(np.int32)),
                                       shape=(count, VOCABULARY))

    q_ids, q_weights = texts(queries)
    ids, weights = texts(documents)
    common = random.random(len(ids)) < shared
    ids[common] = random.choice(q_ids, common.sum())
    ids = np.concatenate([np.sort(text) for text in ids.reshape(documents, ENTRIES)])
    for text in ids.reshape(documents, ENTRIES):
        different = np.unique(text)
        spare = np.setdiff1d(np.arange(ENTRIES, dtype=np.uint32), different)[:ENTRIES - len(different)]
        text[:] = np.sort(np.concatenate([different, spare]))
    q, d = matrix(q_ids, q_weights, queries), matrix(ids, weights, documents)
    q_offsets, d_offsets = offsets(queries, ENTRIES), offsets(documents, ENTRIES)
    starts = d_offsets[:-1].astype(np.int64)
    scores = np.empty((queries, documents), np.float32)

    def ours():
        call(LIBRARY.bge_similarity_sparse, q_offsets, q_ids, q_weights, queries, d_offsets, ids, weights, documents,
             OPTIONS, scores)
        return scores

    def gather():
        table, sums = np.zeros(VOCABULARY, np.float32), np.empty((queries, documents), np.float32)
        for row in range(queries):
            tokens = q.indices[q.indptr[row]:q.indptr[row + 1]]
            table[tokens] = q.data[q.indptr[row]:q.indptr[row + 1]]
            sums[row] = np.add.reduceat(table[ids] * weights, starts)
            table[tokens] = 0
        return sums

    forms = {
        "scipy q @ d.T": lambda: (q @ d.T).toarray(),
        "scipy d @ q.T": lambda: (d @ q.T.tocsr()).toarray().T,
        "scipy d @ dense q": lambda: (d @ np.ascontiguousarray(q.toarray().T)).T,
        "table and gather": gather,
    }
    return ours, forms


def main():
    random = np.random.default_rng(5)
    print(f"{args.threads} threads\n\n| scores | libbge ms | peer's fastest form | ms | ratio (range) |\n|---|---|---|---|---|")
    cases = {"multi: 1 x 1": lambda: multi(random, 1), "multi: 1 x 64": lambda: multi(random, 64)}
    for queries in [1, 10, 100]:
        for shared in [0, 0.1]:
            cases[f"sparse: {queries} x 10,000, {shared:.0%} shared"] = (
                lambda queries=queries, shared=shared: sparse(random, queries, 10_000, shared))
    for name, case in cases.items():
        ours, forms = case()
        expected = np.array(ours())
        seconds = {form: [] for form in ["libbge", *forms]}
        for form in forms:
            difference = np.abs(np.reshape(forms[form](), expected.shape) - expected).max()
            if not difference < 1e-5:
                sys.exit(f"{name}, {form}: the scores differ by {difference}")
        for _ in range(args.repeat):
            for form, run in [("libbge", ours), *forms.items()]:
                # Threads of OpenBLAS spin for 0.1 s after a product, in the other's time.
                time.sleep(0.15)
                run()
                start = time.perf_counter()
                run()
                seconds[form].append(time.perf_counter() - start)
        of = {form: statistics.median(times) * 1e3 for form, times in seconds.items()}
        best = min(forms, key=of.get)
        ratios = sorted(b / a for a, b in zip(seconds["libbge"], seconds[best]))
        print(f"| {name} | {of['libbge']:.2f} | {best} | {of[best]:.2f} | "
              f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f}) |", flush=True)


if __name__ == "__main__":
    main()
