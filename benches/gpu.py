"""Whether a model on an NVIDIA GPU is right and fast: `make gpu-check`.

    python3 benches/gpu.py MODEL_DIR [--into docs/gpu.md]

Compares vectors in fp32, tf32 and fp16 with those of the CPU in fp32, a text alone with the same text in
company, and calls of many threads with one call. Then it measures tokens a second and the latency of
a query, beside sentence-transformers in fp16 (where torch sees the GPU), in turns, medians of five, and
the rate of torch's own matrix product. `BGE_ORT_LIBRARY` has to name the libonnxruntime of a build for
GPUs; CUDA's libraries are also found in Python's packages. Exit code 77: there is no GPU to use.
"""

import argparse
import ctypes
import datetime
import glob
import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

from libbge import Libbge

CUDA = 1
COMPUTE_TYPES = {"fp32": 0, "tf32": 3, "fp16": 2}
# Largest difference of a number of a vector from that of the CPU in fp32, and least cosine.
ALLOWED = {"fp32": (1e-4, 0.999999), "tf32": (5e-3, 0.9999), "fp16": (5e-3, 0.9999)}
NO_GPU = 77
WORDS = "di a in to Orang berjalan luar restoran wanita sedang makan the cat 世界 hujan".split()
MARKS = ("<!-- make gpu-check -->", "<!-- end of make gpu-check -->")


def find_cuda_libraries():
    """Starts this program again with the folders of CUDA's libraries that Python's packages hold: the
    loader reads its path once."""
    if "BGE_GPU_CHECK" in os.environ:
        return
    folders = [folder for entry in sys.path for folder in glob.glob(f"{entry}/nvidia/*/lib")]
    paths = folders + os.environ.get("LD_LIBRARY_PATH", "").split(":")
    os.environ.update(BGE_GPU_CHECK="1", LD_LIBRARY_PATH=":".join(filter(None, paths)))
    os.execv(sys.executable, [sys.executable, *sys.argv])


def gpu_name():
    try:
        asked = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def texts_of(tokens, count, seed=0):
    """About so many tokens each; what is too long is cut."""
    dice = random.Random(seed)
    return [" ".join(dice.choice(WORDS) for _ in range(max(1, tokens - 2))) for _ in range(count)]


def mixed(count):
    dice = random.Random(1)
    return [texts_of(min(512, max(5, round(dice.lognormvariate(4, 1)))), 1, seed)[0]
            for seed in range(count)]


def vectors_of(model, texts):
    numbers = model.encode(model.prepare(texts))
    return [numbers[row:row + model.dim] for row in range(0, len(numbers), model.dim)]


def difference(ours, theirs):
    """The largest difference of a number, and the least cosine."""
    cosine = lambda a, b: (sum(x * y for x, y in zip(a, b)) /
                           (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5)
    return (max(abs(x - y) for a, b in zip(ours, theirs) for x, y in zip(a, b)),
            min(cosine(a, b) for a, b in zip(ours, theirs)))


def in_company(model, texts):
    """How far vectors move if each text is alone, and if 16 threads send them one by one."""
    together = vectors_of(model, texts)
    alone = [vectors_of(model, [text])[0] for text in texts]
    at_once = [None] * len(texts)

    def send(first):
        for index in range(first, len(texts), 16):
            at_once[index] = vectors_of(model, [texts[index]])[0]

    threads = [threading.Thread(target=send, args=(first,)) for first in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return difference(alone, together)[0], difference(at_once, together)[0]


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def rounds(works, repeat=5):
    """The seconds of each work, in turns, after one round that nobody counts."""
    times = {name: [] for name in works}
    for turn in range(repeat + 1):
        for name, work in works.items():
            took = seconds(work)
            if turn:
                times[name].append(took)
    return times


def torch_peer(model_dir):
    try:
        import torch
        from sentence_transformers import SentenceTransformer
        if not torch.cuda.is_available():
            return None
        kwargs = {"torch_dtype": torch.float16}
        return SentenceTransformer(str(model_dir), device="cuda", model_kwargs=kwargs)
    except ImportError:
        return None


def matmul_rate():
    """What torch multiplies in fp16, in 10^12 operations a second."""
    import torch
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.float16) for _ in range(2))

    def work():
        for _ in range(10):
            a @ b
        torch.cuda.synchronize()

    return 20 * 8192 ** 3 / statistics.median(rounds({"": work})[""]) / 1e12


def measure(model, peer, tokens_of):
    """Rows of the table of speed."""
    lengths = [(f"{length}", texts_of(length, max(1, min(1024, 65536 // length))))
               for length in (32, 128, 512, 2048, 8192)]
    for name, texts in lengths + [("mixed 5-512", mixed(2048))]:
        prepared = model.prepare(texts)
        works = {"ours": lambda: model.encode(prepared)}
        if peer:
            works["peer"] = lambda: peer.encode(texts, batch_size=64)
        times = rounds(works)
        tokens = tokens_of(texts)
        row = [name, len(texts), f"{tokens / statistics.median(times['ours']):.0f}"]
        if peer:
            ratios = [theirs / ours for ours, theirs in zip(times["ours"], times["peer"])]
            row.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")
        yield row
    query = model.prepare(texts_of(12, 1))
    for _ in range(20):
        model.encode(query)
    took = sorted(seconds(lambda: model.encode(query)) for _ in range(300))
    yield ["query of 12 tokens", 1, f"p50 {took[150] * 1e3:.2f} ms, p99 {took[296] * 1e3:.2f} ms"]


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("--into", type=Path, help="a file that has the marks of this report")
    args = parser.parse_args()
    find_cuda_libraries()
    name = gpu_name()
    if name is None:
        print("gpu-check: nvidia-smi finds no NVIDIA GPU here; nothing was checked", file=sys.stderr)
        sys.exit(NO_GPU)

    texts = mixed(48) + texts_of(700, 2)
    expected = vectors_of(Libbge(args.model_dir, 0), texts)
    failed, right = False, []
    models = {name: Libbge(args.model_dir, 0, device=CUDA, compute_type=number)
              for name, number in COMPUTE_TYPES.items()}
    for compute_type, model in models.items():
        print(f"gpu-check: comparing in {compute_type}", file=sys.stderr)
        most, least = difference(vectors_of(model, texts), expected)
        alone, at_once = in_company(model, texts)
        most_allowed, cosine = ALLOWED[compute_type]
        is_right = max(most, alone, at_once) <= most_allowed and least >= cosine
        failed |= not is_right
        right.append([compute_type, f"{most:.1e}", f"{least:.7f}", f"{alone:.1e}", f"{at_once:.1e}",
                      "yes" if is_right else "NO"])
    report = f"\n## {datetime.date.today()}, {args.model_dir.name}, {name}\n\n" + table(
        ["computed in", "largest difference from the CPU", "least cosine", "alone or together",
         "16 threads or one call", "within the limits"], right)

    model = models["fp16"]
    model.library.bge_count_tokens.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p,
                                               ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p]

    limit = json.loads((args.model_dir / "sentence_bert_config.json").read_text())["max_seq_length"]

    def tokens_of(texts):
        counts = (ctypes.c_uint32 * len(texts))()
        model.check(model.library.bge_count_tokens(model.model, model.prepare(texts), None,
                                                   len(texts), counts, model.error))
        return sum(min(count, limit) for count in counts)

    peer = torch_peer(args.model_dir)
    print("gpu-check: measuring", file=sys.stderr)
    head = ["tokens a text, fp16", "texts", "tokens/s"]
    head += ["by sentence-transformers' in fp16 (range)"] if peer else []
    rows = [row + [""] * (len(head) - len(row)) for row in measure(model, peer, tokens_of)]
    report += "\n" + table(head, rows)
    if peer:
        report += f"\nA product of 8192 x 8192 in fp16 by torch: {matmul_rate():.0f} TFLOP/s.\n"
    print(report)
    if args.into:
        page = args.into.read_text()
        before, rest = page.split(MARKS[0])
        args.into.write_text(before + MARKS[0] + "\n" + report + "\n" + MARKS[1]
                             + rest.split(MARKS[1])[1])
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
