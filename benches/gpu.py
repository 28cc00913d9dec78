"""Whether a model on an NVIDIA GPU is right and fast: `make gpu-check`.

    python3 benches/gpu.py MODEL_DIR [--devices cuda,tensorrt] [--into docs/gpu.md]

Compares vectors in each compute type with those of the CPU in fp32, a text alone with the same text in
company, and calls of many threads with one call; stops a call; reads the memory. Then it measures tokens
a second at several lengths and the latency of a query, beside sentence-transformers in fp16 (where torch
sees the GPU), in turns, medians of five, and beside the rate of cuBLAS' own product. `BGE_ORT_LIBRARY`
has to name the libonnxruntime of a build for GPUs; CUDA's libraries are also found in Python's packages.
TensorRT's engines are built first, which takes minutes, and kept in --cache-dir. What there is no time
left for is not measured, and said. Exit code 1: a vector is wrong. Exit code 77: there is no GPU to use.
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

from libbge import ROOT, Libbge

# Numbers of the header.
DEVICES = {"cpu": 0, "cuda": 1, "tensorrt": 2}
COMPUTE_TYPES = {"fp32": 0, "tf32": 3, "fp16": 2, "bf16": 4}
TYPES_OF = {"cpu": ["fp32"], "cuda": ["fp32", "tf32", "fp16"], "tensorrt": ["fp16", "bf16"]}
# Largest difference of a number of a vector from that of the CPU in fp32, and least cosine.
ALLOWED = {"fp32": (1e-4, 0.999999), "tf32": (5e-3, 0.9999), "fp16": (5e-3, 0.9999),
           "bf16": (3e-2, 0.999)}
LENGTHS = (32, 128, 512, 2048, 8192)
NO_GPU = 77
WORDS = "di a in to Orang berjalan luar restoran wanita sedang makan the cat 世界 hujan".split()
MARKS = ("<!-- make gpu-check -->", "<!-- end of make gpu-check -->")


def find_cuda_libraries():
    """Starts this program again with the folders of CUDA's libraries that Python's packages hold: the
    loader reads its path once."""
    if "BGE_GPU_CHECK" in os.environ:
        return
    found = [f"{entry}/{name}" for entry in sys.path for name in ("nvidia/*/lib", "tensorrt_libs")]
    folders = [folder for pattern in found for folder in glob.glob(pattern)]
    paths = folders + os.environ.get("LD_LIBRARY_PATH", "").split(":")
    os.environ.update(BGE_GPU_CHECK="1", LD_LIBRARY_PATH=":".join(filter(None, paths)))
    os.execv(sys.executable, [sys.executable, *sys.argv])


def nvidia_smi(what):
    try:
        asked = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits"]
        answer = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        return answer.splitlines()[0].strip()
    except (OSError, subprocess.CalledProcessError, IndexError):
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
    def cosine(a, b):
        product = sum(x * y for x, y in zip(a, b))
        return product / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5
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


def stopping(model, texts):
    """How long after its time was up a long call came back, in milliseconds; or None if it was done
    before. The next call has to be right."""
    query = texts_of(12, 1)
    expected = vectors_of(model, query)
    long = model.prepare(texts)
    timeout_ms = max(1, int(seconds(lambda: model.encode(long)) * 1000 / 4))
    start = time.perf_counter()
    try:
        model.encode(long, timeout_ms=timeout_ms)
        late = None
    except SystemExit:
        late = (time.perf_counter() - start) * 1000 - timeout_ms
    assert difference(vectors_of(model, query), expected)[0] < 1e-2, "wrong after a stopped call"
    return late


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


def matmul_rate(size=8192, times=10):
    """What cuBLAS multiplies in fp16 with sums in fp32, in 10^12 operations a second; or None."""
    try:
        cuda, cublas = ctypes.CDLL("libcudart.so.13"), ctypes.CDLL("libcublas.so.13")
    except OSError:
        return None
    handle, matrices = ctypes.c_void_p(), [ctypes.c_void_p() for _ in range(3)]
    calls = [cublas.cublasCreate_v2(ctypes.byref(handle))]
    calls += [cuda.cudaMalloc(ctypes.byref(matrix), ctypes.c_size_t(2 * size * size))
              for matrix in matrices]
    calls += [cuda.cudaMemset(matrix, 0, ctypes.c_size_t(2 * size * size)) for matrix in matrices]
    one, none = ctypes.c_float(1), ctypes.c_float(0)
    half, sums, best = 2, 68, -1  # CUDA_R_16F, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT
    a, b, c = matrices

    def work():
        for _ in range(times):
            calls.append(cublas.cublasGemmEx(handle, 0, 0, size, size, size, ctypes.byref(one), a, half,
                                             size, b, half, size, ctypes.byref(none), c, half, size,
                                             sums, best))
        calls.append(cuda.cudaDeviceSynchronize())

    took = statistics.median(rounds({"": work})[""])
    for matrix in matrices:
        cuda.cudaFree(matrix)
    return None if any(calls) else 2 * times * size ** 3 / took / 1e12


def operations(config, lengths):
    """Of the products of all layers, for texts of these lengths."""
    hidden, wide = config["hidden_size"], config["intermediate_size"]
    weights = 4 * hidden * hidden + 2 * hidden * wide
    return 2 * config["num_hidden_layers"] * sum(
        length * weights + 2 * length * length * hidden for length in lengths)


def measure(model, peer, config, limit, rate, has_time, scale=1.0):
    """Rows of the table of speed."""
    works = [(str(length), texts_of(length, max(1, int(min(1024, 65536 // length) * scale))))
             for length in LENGTHS if length <= limit]
    for name, texts in works + [("mixed, 5 to 512", mixed(max(8, int(2048 * scale))))]:
        if not has_time():
            yield [name, len(texts), "no time left", "", ""]
            continue
        pointers = model.prepare(texts)
        lengths = [min(limit, count) for count in model.count_tokens(pointers)]
        timed = {"ours": lambda: model.encode(pointers)}
        if peer:
            timed["peer"] = lambda: peer.encode(texts, batch_size=64)
        times = rounds(timed)
        took = statistics.median(times["ours"])
        share = f"{operations(config, lengths) / took / rate / 1e10:.0f} %" if rate else ""
        ratio = ""
        if peer:
            ratios = [theirs / ours for ours, theirs in zip(times["ours"], times["peer"])]
            ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        yield [name, len(texts), f"{sum(lengths) / took:.0f}", share, ratio]
    query = model.prepare(texts_of(12, 1))
    for _ in range(20):
        model.encode(query)
    took = sorted(seconds(lambda: model.encode(query)) for _ in range(300))
    yield ["a query of 12", 1, f"p50 {took[150] * 1e3:.2f} ms, p99 {took[296] * 1e3:.2f} ms", "", ""]


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def put_into(page, report):
    """The page with the report in place of what is between its marks."""
    before, rest = page.split(MARKS[0])
    return before + MARKS[0] + "\n" + report + "\n" + MARKS[1] + rest.split(MARKS[1])[1]


def say(line):
    print(f"gpu-check: {line}", file=sys.stderr, flush=True)


def check(model, compute_type, texts, expected):
    """A row of the table of what is right, and whether it is."""
    most, least = difference(vectors_of(model, texts), expected)
    alone, at_once = in_company(model, texts)
    most_allowed, cosine = ALLOWED[compute_type]
    is_right = max(most, alone, at_once) <= most_allowed and least >= cosine
    return [f"{most:.1e}", f"{least:.7f}", f"{alone:.1e}", f"{at_once:.1e}",
            "yes" if is_right else "NO"], is_right


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("--devices", default="cuda", help="cuda, tensorrt, or both with a comma")
    parser.add_argument("--max-tokens", type=int, default=0,
                        help="open the model for texts so long: TensorRT has fewer engines then")
    parser.add_argument("--cache-dir", type=Path, default=ROOT / ".cache/engines")
    parser.add_argument("--seconds", type=float, default=480, help="begin nothing after so many")
    parser.add_argument("--into", type=Path, help="a file that has the marks of this report")
    parser.add_argument("--rehearse", action="store_true",
                        help="do it with the CPU in place of a GPU, to try this program")
    args = parser.parse_args()
    args.devices = ["cpu"] if args.rehearse else args.devices.split(",")
    for device in args.devices:
        if device not in DEVICES or (device == "cpu") != args.rehearse:
            parser.error(f"{device!r} is neither cuda nor tensorrt")
    return args


def main():
    args = arguments()
    name = "no GPU: a rehearsal"
    if not args.rehearse:
        find_cuda_libraries()
        name = nvidia_smi("name,driver_version")
    if name is None:
        say("nvidia-smi finds no NVIDIA GPU here; nothing was checked")
        sys.exit(NO_GPU)
    began = time.monotonic()
    scale = 0.01 if args.rehearse else 1.0

    def has_time():
        return time.monotonic() - began < args.seconds

    config = json.loads((args.model_dir / "config.json").read_text())
    limit = json.loads((args.model_dir / "sentence_bert_config.json").read_text())["max_seq_length"]
    limit = min(limit, args.max_tokens or limit)
    texts = mixed(48) + texts_of(700, 2)
    expected = vectors_of(Libbge(args.model_dir, 0, max_tokens=args.max_tokens), texts)
    rate = None if args.rehearse else matmul_rate()
    failed, right, speed = False, [], []
    for device in args.devices:
        gpus = int(nvidia_smi("count") or 1)
        works = [(compute_type, 1) for compute_type in TYPES_OF[device]]
        works += [("fp16", gpus)] if gpus > 1 else []
        for compute_type, count in works:
            label = f"{device} {compute_type}" + (f", {count} GPUs" if count > 1 else "")
            if not has_time():
                say(f"no time left for {label}")
                right.append([label] + ["no time left"] + [""] * 7)
                continue
            say(f"opening {label}")
            before = nvidia_smi("memory.used")
            start = time.perf_counter()
            model = Libbge(args.model_dir, 0, device=DEVICES[device], max_tokens=args.max_tokens,
                           compute_type=COMPUTE_TYPES[compute_type], prepare=device == "tensorrt", device_count=count,
                           cache_dir=args.cache_dir if device == "tensorrt" else None)
            opened = time.perf_counter() - start
            say(f"comparing in {label}")
            row, is_right = check(model, compute_type, texts, expected)
            failed |= not is_right
            late = stopping(model, texts_of(400, max(8, int(1000 * scale))))
            used = nvidia_smi("memory.used")
            right.append([label, *row, f"{opened:.1f} s",
                          f"{int(used) - int(before)} MB" if used and before else "",
                          "" if late is None else f"{late:.0f} ms"])
            if compute_type == TYPES_OF[device][-1] or compute_type == "fp16":
                say(f"measuring {label}")
                peer = torch_peer(args.model_dir) if device == "cuda" else None
                rows = measure(model, peer, config, limit, rate, has_time, scale)
                speed += [[label, *row] for row in rows]
            model.close()
    report = f"\n## {datetime.date.today()}, {args.model_dir.name}, {name}\n\n" + table(
        ["computed in", "largest difference from the CPU", "least cosine", "alone or together",
         "16 threads or one call", "within the limits", "opened in", "memory of the GPU",
         "a stopped call was late by"], right)
    report += "\n" + table(["computed in", "tokens a text", "texts", "tokens/s", "of cuBLAS' rate",
                            "by sentence-transformers' in fp16 (range)"], speed)
    if rate:
        report += f"\nA product of 8192 x 8192 in fp16 by cuBLAS: {rate:.0f} TFLOP/s.\n"
    print(report)
    if args.into:
        args.into.write_text(put_into(args.into.read_text(), report))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
