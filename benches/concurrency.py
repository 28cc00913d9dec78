"""Many threads that each send one short text after another, against the same texts in bulk.

    .cache/venv/bin/python benches/concurrency.py MODEL_DIR [--threads 2] [--seconds 5]

Prints texts a second and the latency of a call for 1, 4, 16 and 64 calling threads, with the rate of
the same texts in bulk, measured just before and after; then short texts beside one long text, each
alone and both together. `--overhead` measures instead what a call costs beyond the model's own run:
give it a tiny model.
"""

import argparse
import ctypes
import statistics
import threading
import time
from pathlib import Path

from libbge import Libbge

# One token each in the vocabulary of XLM-RoBERTa.
WORDS = ["di", "a", "in", "to"]


class Stats(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("queue_depth", ctypes.c_uint32)] + [
        (name, ctypes.c_uint64) for name in
        ("calls", "failures", "cancellations", "texts", "tokens", "batches", "tokenize_ns",
         "inference_ns")]


def text(tokens, seed=0):
    return " ".join(WORDS[(seed + index * index) % 4] for index in range(tokens - 2))


def bulk(model, count, tokens):
    """Texts a second in one call."""
    texts = model.prepare([text(tokens, seed) for seed in range(count)])
    start = time.perf_counter()
    model.encode(texts)
    return count / (time.perf_counter() - start)


def stream(model, callers, tokens, until):
    """The latencies of the calls of each caller, until `until` says so."""
    latencies = [[] for _ in range(callers)]

    def call(index):
        texts = model.prepare([text(tokens, index)])
        while not until():
            start = time.perf_counter()
            model.encode(texts)
            latencies[index].append(time.perf_counter() - start)

    threads = [threading.Thread(target=call, args=(index,)) for index in range(callers)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = sorted(latency for of_one in latencies for latency in of_one)
    return everything, len(everything) / (time.perf_counter() - start)


def percentile(latencies, part):
    return latencies[min(len(latencies) - 1, int(len(latencies) * part))]


def concurrency(model, seconds):
    print("| callers | texts/s | bulk texts/s | ratio | p50 ms | p99 ms | p99 / p50 |\n"
          "|---|---|---|---|---|---|---|")
    count = max(16, int(bulk(model, 64, 12) * seconds / 2))
    for callers in (1, 4, 16, 64):
        before = bulk(model, count, 12)
        end = time.perf_counter() + seconds
        latencies, rate = stream(model, callers, 12, lambda: time.perf_counter() > end)
        in_bulk = (before + bulk(model, count, 12)) / 2
        p50, p99 = (percentile(latencies, part) * 1e3 for part in (0.5, 0.99))
        print(f"| {callers} | {rate:.1f} | {in_bulk:.1f} | {rate / in_bulk:.2f} | {p50:.1f} | "
              f"{p99:.1f} | {p99 / p50:.1f} |", flush=True)


def beside_a_long_text(model, long_tokens):
    long = model.prepare([text(long_tokens)])
    start = time.perf_counter()
    model.encode(long)
    alone = time.perf_counter() - start
    end = time.perf_counter() + min(alone, 5)
    short_alone, _ = stream(model, 1, 12, lambda: time.perf_counter() > end)
    took = []

    def run_long():
        time.sleep(0.2)
        start = time.perf_counter()
        model.encode(long)
        took.append(time.perf_counter() - start)

    thread = threading.Thread(target=run_long)
    thread.start()
    end = time.perf_counter() + alone / 2
    beside, _ = stream(model, 1, 12,
                       lambda: not thread.is_alive() and time.perf_counter() > end)
    print(f"\none text of {long_tokens} tokens: {alone:.2f} s alone, {took[0]:.2f} s beside short "
          f"texts\nshort texts: median {statistics.median(short_alone) * 1e3:.1f} ms alone, "
          f"{statistics.median(beside) * 1e3:.1f} ms beside it, longest {beside[-1]:.2f} s, "
          f"{len(beside)} calls")


def overhead(model, calls):
    """Microseconds a call, the least of five times."""
    def of(function):
        best = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            for _ in range(calls):
                function()
            best = min(best, (time.perf_counter() - start) / calls * 1e6)
        return best

    texts, counts = model.prepare(["a"]), (ctypes.c_uint32 * 1)()
    one = ctypes.c_size_t(1)
    nothing = of(model.library.bge_version)
    count = of(lambda: model.library.bge_count_tokens(model.model, texts, None, one, counts,
                                                      model.error))
    print(f"a call of ctypes: {nothing:.1f} us; bge_count_tokens of \"a\": {count:.1f} us")
    stats = [Stats(struct_size=ctypes.sizeof(Stats)) for _ in range(2)]
    least = float("inf")
    for _ in range(5):
        model.library.bge_get_stats(model.model, ctypes.byref(stats[0]), None)
        start = time.perf_counter()
        for _ in range(calls):
            model.encode(texts)
        whole = (time.perf_counter() - start) * 1e6
        model.library.bge_get_stats(model.model, ctypes.byref(stats[1]), None)
        inference = (stats[1].inference_ns - stats[0].inference_ns) / 1e3
        if whole - inference < least * calls:
            least, run = (whole - inference) / calls, inference / calls
    print(f"bge_encode of \"a\": {least:.1f} us beside {run:.1f} us of the model's run")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--long", type=int, default=0, help="tokens of the long text; 0: none")
    parser.add_argument("--overhead", action="store_true")
    args = parser.parse_args()
    model = Libbge(args.model_dir, args.threads)
    if args.overhead:
        overhead(model, 2000)
        return
    concurrency(model, args.seconds)
    if args.long:
        beside_a_long_text(model, args.long)


if __name__ == "__main__":
    main()
