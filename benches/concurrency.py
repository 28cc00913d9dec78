"""Many threads that each send one short text after another, against the same texts in bulk.

    python3 benches/concurrency.py MODEL_DIR [--threads 2] [--seconds 5]

Prints texts a second and the latency of a call for 1, 4, 16 and 64 calling threads, with the rate of
the same texts in bulk, measured just before and after. `--long` measures instead how short texts and
a long one, which runs meanwhile, slow each other down. `--overhead` measures instead what a call
costs beyond the model's own run: give it a tiny model.
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


def beside_a_long_text(model, long_tokens, senders, repeat):
    """Short texts while a long one runs, against each alone, in turns: medians."""
    long, rows, calls = model.prepare([text(long_tokens)]), [], 0
    for _ in range(repeat):
        start = time.perf_counter()
        model.encode(long)
        alone = time.perf_counter() - start
        end = time.perf_counter() + min(alone, 3)
        short_alone, _ = stream(model, senders, 12, lambda: time.perf_counter() > end)
        took = []

        def run_long():
            start = time.perf_counter()
            model.encode(long)
            took.append(time.perf_counter() - start)

        thread = threading.Thread(target=run_long)
        thread.start()
        time.sleep(min(0.1, alone / 10))
        beside, _ = stream(model, senders, 12, lambda: not thread.is_alive())
        usual = percentile(short_alone, 0.5)
        p50, p99 = percentile(beside, 0.5), percentile(beside, 0.99)
        calls += len(beside)
        rows.append((alone, took[0], took[0] / alone, usual * 1e3, p50 * 1e3, p99 * 1e3,
                     p50 / usual, p99 / usual))
    numbers = " | ".join(f"{statistics.median(column):.2f}" for column in zip(*rows))
    print(f"| {long_tokens} | {senders} | {numbers} | {calls} |", flush=True)


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
    parser.add_argument("--long", type=int, nargs="+", help="tokens of a long text, instead")
    parser.add_argument("--senders", type=int, nargs="+", default=[1], help="of short ones beside it")
    parser.add_argument("--repeat", type=int, default=1, help="of a measurement beside a long text")
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--library", type=Path, help="another libbge.so")
    parser.add_argument("--overhead", action="store_true")
    args = parser.parse_args()
    model = Libbge(args.model_dir, args.threads, compute_type=int(args.int8), library=args.library)
    if args.overhead:
        overhead(model, 2000)
        return
    if not args.long:
        concurrency(model, args.seconds)
        return
    print("| long text | senders | alone s | beside s | ratio | short alone ms | p50 ms | p99 ms | "
          "p50 / alone | p99 / alone | calls |\n|" + "---|" * 11)
    for tokens in args.long:
        for senders in args.senders:
            beside_a_long_text(model, tokens, senders, args.repeat)


if __name__ == "__main__":
    main()
