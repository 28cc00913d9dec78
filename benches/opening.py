#!/usr/bin/env python3
"""How long a model takes to open, and how much memory it then has, in each way to open it.

    python3 benches/opening.py MODEL_DIR [--repeat 5]

Each time in a process of its own, the ways in turns; the median by time. The first time of all is not
counted: it brings the files into the page cache, and fills the folder of packed weights.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from libbge import Libbge
from resident import megabytes

WAYS = {
    "fp32": {},
    "fp32, cache_dir": {"cached": True},
    "fp32, small memory": {"flags": 1},
    "int8": {"compute_type": 1},
    "int8, cache_dir": {"compute_type": 1, "cached": True},
}


def open_once(model_dir, way, folder):
    options = dict(WAYS[way])
    cache_dir = folder if options.pop("cached", False) else None
    own, clock, processor = megabytes("RssAnon"), time.perf_counter(), time.process_time()
    Libbge(model_dir, 2, cache_dir=cache_dir, **options)
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    print(json.dumps([clock, processor, megabytes("RssAnon") - own, megabytes("RssFile"),
                      megabytes("VmHWM")]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--once", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.once:
        return open_once(args.model_dir, *args.once)
    taken = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(args.repeat + 1):
            for way in WAYS:
                command = [sys.executable, __file__, args.model_dir, "--once", way, folder]
                out = json.loads(subprocess.check_output(command))
                if repeat:
                    taken[way].append(out)
    print("| opened as | s (range) | processor s | MB of its own | of files | at most |\n|---|---|---|---|---|---|")
    for way, times in taken.items():
        times.sort()
        clock, processor, own, files, peak = times[len(times) // 2]
        print(f"| {way} | {clock:.2f} ({times[0][0]:.2f}-{times[-1][0]:.2f}) | {processor:.2f} | {own:.0f} | {files:.0f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
