"""Memory and time of one run of the model, by its number of tokens.

    .cache/venv/bin/python benches/memory.py MODEL_DIR --tokens 128 2048 8192 [--compute-type int8]

Every run has a process of its own, in which a text of three tokens runs first. Prints how far the
resident size rose above that at its highest, by token, and how much of it was left afterwards that
is no page of a file.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from libbge import Libbge
from resident import megabytes


def measure(args, tokens):
    model = Libbge(args.model_dir, args.threads, max_batch_tokens=args.max_batch_tokens,
                   flags=args.flags, compute_type=["fp32", "int8"].index(args.compute_type))
    model.encode(model.prepare(["a"]))
    # "di" is one token, and each text has two special ones.
    length = args.length or tokens
    count = max(1, tokens // length)
    texts = model.prepare(["di " * (length - 2)] * count)
    before, own = megabytes("VmRSS"), megabytes("RssAnon")
    Path("/proc/self/clear_refs").write_text("5")  # the highest resident size begins anew
    start = time.monotonic()
    model.encode(texts)
    seconds = time.monotonic() - start
    tokens = length * count
    rise = megabytes("VmHWM") - before
    print(f"{tokens:6d} tokens  {seconds:7.2f} s  {tokens / seconds:6.0f} tokens/s  "
          f"{rise:6.1f} MB  {rise * 2**20 / tokens:6.0f} bytes a token  "
          f"{megabytes('RssAnon') - own:5.1f} MB left", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("--tokens", type=int, nargs="+", default=[128, 512, 2048])
    parser.add_argument("--length", type=int, help="tokens of a text, by default all of them")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-batch-tokens", type=int, default=0)
    parser.add_argument("--flags", type=int, default=0)
    parser.add_argument("--compute-type", choices=["fp32", "int8"], default="fp32")
    args = parser.parse_args()
    if len(args.tokens) == 1:
        measure(args, args.tokens[0])
        return
    command = [sys.executable] + sys.argv
    place = command.index("--tokens") if "--tokens" in command else len(command)
    rest = command[place + 1 + len(args.tokens):]
    for tokens in args.tokens:
        subprocess.run([*command[:place], *rest, "--tokens", str(tokens)], check=True)


if __name__ == "__main__":
    main()
