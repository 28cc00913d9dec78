"""The process of one peer: takes commands as JSON lines, answers each with one."""

import base64
import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import peers  # noqa: E402
from resident import megabytes  # noqa: E402


class Worker:
    def __init__(self, name, model_dir, cache, threads):
        self.peer = peers.make(name, Path(model_dir), Path(cache), int(threads))
        self.work = {}

    def convert(self, _):
        self.peer.convert()
        return {}

    def open(self, _):
        start = time.perf_counter()
        self.peer.open()
        return {"seconds": time.perf_counter() - start, **resident()}

    def load(self, command):
        texts, ids = command["texts"], command["ids"]
        if command["single"]:
            work = [self.peer.prepare([text], [of]) for text, of in zip(texts, ids)]
        else:
            work = [self.peer.prepare(texts, ids)]
        self.work[command["workload"]] = work
        return {}

    def vectors(self, command):
        start = time.perf_counter()
        found = [self.peer.encode(work) for work in self.work[command["workload"]]]
        seconds = time.perf_counter() - start
        return {"vectors": base64.b64encode(b"".join(map(bytes, found))).decode(), "seconds": [seconds]}

    def time(self, command):
        seconds = []
        for work in self.work[command["workload"]]:
            start = time.perf_counter()
            self.peer.encode(work)
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds}

    def callers(self, command):
        """Each caller sends one text after another until the time is over."""
        work, latencies, failed = self.work[command["workload"]], [], []
        start = time.perf_counter()

        def call(place):
            try:
                while (begin := time.perf_counter()) - start < command["seconds"]:
                    self.peer.encode(work[place % len(work)])
                    latencies.append(time.perf_counter() - begin)
                    place += 1
            except Exception as error:
                failed.append(repr(error))

        threads = [threading.Thread(target=call, args=(place,)) for place in range(command["callers"])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise RuntimeError(failed[0])
        return {"elapsed": time.perf_counter() - start, "latencies": latencies}

    def memory(self, _):
        return resident()


def resident():
    """Megabytes of this process: now, without pages of files, and the most it ever had."""
    return {name: megabytes(key)
            for name, key in (("rss", "VmRSS"), ("anonymous", "RssAnon"), ("peak", "VmHWM"))}


def main():
    # If memory runs out, this process goes first, and not one of others on the machine.
    Path("/proc/self/oom_score_adj").write_text("1000")
    # Peers print what they like: their standard output goes where their errors go.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = None
    for line in sys.stdin:
        command = json.loads(line)
        try:
            if command["do"] == "start":
                worker = Worker(*command["arguments"])
                answer = {}
            else:
                answer = getattr(worker, command["do"])(command)
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}".strip().replace("\n", " ")}
        print(json.dumps(answer), file=answers, flush=True)
    # No peer's threads or destructors are waited for.
    os._exit(0)


if __name__ == "__main__":
    main()
