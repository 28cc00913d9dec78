"""The driver's end of a worker."""

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

WORKER = Path(__file__).with_name("worker.py")


class Refused(Exception):
    """What a peer cannot do, in its own words."""


class Process:
    def __init__(self, name, model_dir, cache, threads, limit):
        self.name, self.limit, self.loaded = name, limit, set()
        cache.mkdir(parents=True, exist_ok=True)
        self.log = cache / f"{name}.log"
        number = str(threads)
        # The variables that set the number of threads of OpenMP, OpenBLAS, MKL and Rayon.
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true",
                       **{key: number for key in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS",
                                                  "MKL_NUM_THREADS", "RAYON_NUM_THREADS")}}
        self.process = subprocess.Popen([sys.executable, str(WORKER)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=open(self.log, "w"),
                                        env=environment)
        self.ask("start", arguments=[name, str(model_dir), str(cache), number])

    def ask(self, do, **values):
        try:
            self.process.stdin.write(json.dumps({"do": do, **values}).encode() + b"\n")
            self.process.stdin.flush()
            line = self.read_line()
        except BrokenPipeError:
            line = b""
        if not line:
            self.close()
            last = (self.log.read_text(errors="replace").strip().splitlines() or ["no word"])[-1]
            raise Refused(f"its process ended with {self.process.returncode}: {last[-200:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"][:300])
        return answer

    def read_line(self):
        """A line, or what there is of it when the process ends."""
        pipe, line, end = self.process.stdout, b"", time.monotonic() + self.limit
        while not line.endswith(b"\n"):
            if not select.select([pipe], [], [], max(0, end - time.monotonic()))[0]:
                self.process.kill()
                self.process.wait()
                raise Refused(f"it took longer than {self.limit} s")
            part = os.read(pipe.fileno(), 1 << 20)
            if not part:
                return b""
            line += part
        return line

    def load(self, workload, texts):
        if workload.name not in self.loaded:
            self.ask("load", workload=workload.name, texts=texts, ids=workload.ids(),
                     single=workload.kind in ("query", "callers"))
            self.loaded.add(workload.name)

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
