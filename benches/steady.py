"""Resident memory under a steady load of texts of mixed lengths.

    python3 benches/steady.py MODEL_DIR [--minutes 5] [--callers 4]

Every caller sends one call after another, of 1 to 8 texts of 3 to 512 tokens, some of which are cut.
Prints the memory of the process's own and that of mapped files twice a minute, and in the end how
far its own moved after the first minute. That of files grows with every row of the word table that
is read for the first time; it ends with the file, is shared, and is the system's to take.
"""

import argparse
import random
import threading
import time
from pathlib import Path

from libbge import Libbge
from resident import megabytes


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--callers", type=int, default=4)
    args = parser.parse_args()
    model = Libbge(args.model_dir, args.threads)
    end = time.monotonic() + args.minutes * 60
    calls = [0] * args.callers

    def call(caller):
        dice = random.Random(caller)
        while time.monotonic() < end:
            lengths = [min(600, max(1, round(dice.lognormvariate(3.5, 1.2))))
                       for _ in range(dice.randint(1, 8))]
            # Words that change, so that whatever is kept for a word would show.
            word = lambda: "".join(dice.choice("aiueknrst") for _ in range(dice.randint(1, 9)))
            model.encode(model.prepare([" ".join(word() for _ in range(length))
                                        for length in lengths]))
            calls[caller] += 1

    threads = [threading.Thread(target=call, args=(index,)) for index in range(args.callers)]
    for thread in threads:
        thread.start()
    settled = []
    start = time.monotonic()
    while any(thread.is_alive() for thread in threads):
        time.sleep(min(30, max(1, end - time.monotonic())))
        elapsed = time.monotonic() - start
        own, files = megabytes("RssAnon"), megabytes("RssFile")
        print(f"{elapsed:6.0f} s  {sum(calls):7d} calls  {own:7.1f} MB own  {files:7.1f} MB of files",
              flush=True)
        if elapsed > 60:
            settled.append(own)
    if settled:
        print(f"own after the first minute: {min(settled):.1f} to {max(settled):.1f} MB, "
              f"{(max(settled) / min(settled) - 1) * 100:.1f} %")


if __name__ == "__main__":
    main()
