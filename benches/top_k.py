#!/usr/bin/env python3
"""Times exact search against faiss: bge_similarity_top_k and IndexFlatIP, or IndexFlatL2.

    pip install faiss-cpu
    python benches/top_k.py [--rows 200000] [--dim 1024] [--threads 2] [--k 10] [--repeat 7] [--metric dot]
    python benches/top_k.py --rows 1000000 --queries 1000 --alone      # time and memory, without faiss

It needs numpy, faiss-cpu and a built libbge, and no model: numbers are random, of length 1. Both read
the same rows on the same threads, in turns. Before anything is timed, the rows found have to be those
of numpy in 64 bits, but for scores that are nearer than rounding. Prints the median and range of the
ratio of their times: above 1, libbge is faster. With one thread, that is the time of the processor,
which a loaded machine changes little.

faiss's OpenBLAS takes its slowest kernels for a processor that it does not know: OPENBLAS_VERBOSE=2 says
which it took, and OPENBLAS_CORETYPE=SkylakeX, Haswell or Zen which to take.
"""

import argparse
import ctypes
import os
import re
import statistics
import sys
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rows", type=int, default=200_000)
parser.add_argument("--dim", type=int, default=1024)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--k", type=int, default=10)
parser.add_argument("--repeat", type=int, default=7)
parser.add_argument("--queries", type=int, nargs="+", default=[1, 16, 1000])
parser.add_argument("--alone", action="store_true")
parser.add_argument("--metric", choices=["dot", "euclidean"], default="dot")
args = parser.parse_args()
# Read when OpenBLAS is loaded.
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(args.threads)

import numpy as np  # noqa: E402

if not args.alone:
    import faiss  # noqa: E402

LIBRARY = ctypes.CDLL(os.environ.get("BGE_LIBRARY", str(Path(__file__).resolve().parents[1] / "target/release/libbge.so")))
METRIC = {"dot": 1, "euclidean": 2}[args.metric]


class Options(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("threads", ctypes.c_uint32), ("strides", ctypes.c_size_t * 3)]


OPTIONS = ctypes.byref(Options(struct_size=ctypes.sizeof(Options), threads=args.threads))


def pointer(array):
    return ctypes.c_void_p(array.ctypes.data)


def ours(queries, corpus):
    indices = np.empty((len(queries), args.k), np.uint64)
    scores = np.empty((len(queries), args.k), np.float32)
    error = ctypes.create_string_buffer(1024)
    size = ctypes.c_size_t
    if LIBRARY.bge_similarity_top_k(METRIC, pointer(queries), size(len(queries)), pointer(corpus), size(len(corpus)),
                                    size(args.dim), size(args.k), OPTIONS, pointer(indices), pointer(scores), error):
        sys.exit(error.raw[16:].split(b"\0")[0].decode())
    return indices, scores


def unit(random, rows):
    numbers = random.standard_normal((rows, args.dim), np.float32)
    for part in np.array_split(numbers, 1 + rows // 10_000):
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return numbers


def exact_scores(query, rows):
    return rows @ query if METRIC == 1 else -((rows - query) ** 2).sum(1)


def check(name, indices, queries, corpus):
    """That no row is left out which is better than one that was found."""
    for query, found in list(zip(queries, indices))[:4]:
        exact = np.concatenate([exact_scores(query.astype(np.float64), corpus[first:first + 10_000])
                                for first in range(0, len(corpus), 10_000)])
        worst = np.partition(exact, -args.k)[-args.k]
        if exact[found.astype(np.int64)].min() < worst - 2e-6:
            sys.exit(f"{name} did not find the best rows")


CLOCK = time.thread_time if args.threads == 1 else time.perf_counter


def resident(name):
    return int(re.search(name + r":\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def alone(random, corpus):
    for count in args.queries:
        queries = unit(random, count)
        # Memory that was freed but kept would be used again unseen.
        ctypes.CDLL(None).malloc_trim(0)
        before = resident("VmRSS")
        # The peak is that of what follows.
        Path("/proc/self/clear_refs").write_text("5")
        start = time.perf_counter()
        indices, scores = ours(queries, corpus)
        seconds = time.perf_counter() - start
        peak = resident("VmHWM") - before
        check("libbge", indices, queries, corpus)
        print(f"{count} queries, {args.rows} rows of {args.dim}, {args.metric}, k {args.k}, {args.threads} threads: "
              f"{seconds:.1f} s, {peak:.1f} MB beyond what was given, results of {indices.nbytes + scores.nbytes} bytes included")


def main():
    random = np.random.default_rng(7)
    corpus = unit(random, args.rows)
    if args.alone:
        alone(random, corpus)
        return
    index = (faiss.IndexFlatIP if METRIC == 1 else faiss.IndexFlatL2)(args.dim)
    index.add(corpus)
    faiss.omp_set_num_threads(args.threads)
    print(f"{args.rows} rows of {args.dim}, {args.metric}, k {args.k}, {args.threads} threads, faiss {faiss.__version__}\n\n"
          "| queries | libbge ms | faiss ms | ratio (range) |\n|---|---|---|---|")
    for count in args.queries:
        queries = unit(random, count)
        check("libbge", ours(queries, corpus)[0], queries, corpus)
        check("faiss", index.search(queries, args.k)[1], queries, corpus)
        seconds = {"libbge": [], "faiss": []}
        for _ in range(args.repeat):
            for name, run in [("libbge", lambda: ours(queries, corpus)), ("faiss", lambda: index.search(queries, args.k))]:
                # Threads of OpenMP and OpenBLAS spin for 0.1 s after their work, in the other's time.
                time.sleep(0.15)
                start = CLOCK()
                run()
                seconds[name].append(CLOCK() - start)
        ratios = sorted(theirs / mine for mine, theirs in zip(seconds["libbge"], seconds["faiss"]))
        mine, theirs = (statistics.median(seconds[name]) * 1e3 for name in ["libbge", "faiss"])
        print(f"| {count} | {mine:.1f} | {theirs:.1f} | {statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f}) |",
              flush=True)


if __name__ == "__main__":
    main()
