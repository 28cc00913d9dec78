"""One peer after another through one workload after another, each checked before it is timed."""

import array
import base64
import math
import time

import peers
from harness import workloads
from harness.process import Process, Refused

# Threads of OpenMP, OpenBLAS and onnxruntime spin for up to 0.2 s after they have worked, in
# another's time.
PAUSE = 0.3
# How near to the reference the vectors of those have to be that do not compute in fp32.
COSINE_MIN = 0.9


class Run:
    def __init__(self, args, store, versions):
        self.args, self.store, self.versions = args, store, versions
        self.cache = args.cache
        self.stamp = 0
        self.progress = Progress()

    def process(self, name):
        return Process(name, self.args.model_dir, self.cache, self.args.threads, self.args.limit)

    def key(self, name, workload):
        return {"peer": name, "versions": self.versions[name], "workload": workload.name,
                "digest": workload.digest(), "threads": self.args.threads}

    def refused(self, name, workload=None):
        """Why it cannot do this workload, or cannot run at all."""
        return any(self.store.of(peer=name, versions=self.versions[name], refused_all=True)) or (
            workload is not None and any("refused" in record for record in
                                         self.store.of(**self.key(name, workload))))

    def refuse(self, name, error, workload=None):
        print(f"\n{name}{f', {workload.name}' if workload else ''}: left out: {error}", flush=True)
        record = {"peer": name, "versions": self.versions[name], "refused": str(error)}
        self.store.add({**record, **(self.key(name, workload) if workload else {"refused_all": True})})

    def convert(self, name):
        """In a process of its own: what converting needs would else count as the peer's."""
        try:
            process = self.process(name)
            try:
                process.ask("convert")
            finally:
                process.close()
        except Refused as error:
            self.refuse(name, error)

    # The reference.

    def reference(self, workload, prefix=""):
        return self.cache / "reference" / (
            f"{self.args.reference}-{workloads.digest(workload.words)}{'-prefix' if prefix else ''}.f32")

    def make_reference(self, wanted):
        """The vectors of all (workload, prefix) that are not kept yet."""
        wanted = {self.reference(workload, prefix): (workload, prefix) for workload, prefix in wanted}
        wanted = {path: value for path, value in wanted.items() if not path.exists()}
        if not wanted:
            return
        process = self.process(self.args.reference)
        process.ask("open")
        for path, (workload, prefix) in wanted.items():
            print(f"reference vectors of {workload.name} {prefix}", flush=True)
            process.loaded.clear()
            process.load(workload, given(workload, prefix, 1))
            vectors = base64.b64decode(process.ask("vectors", workload=workload.name)["vectors"])
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(vectors)
        process.close()

    def check(self, process, workload):
        """Compares with the reference, and thereby warms up; the seconds that it took."""
        peer = peers.BY_NAME[process.name]
        process.load(workload, given(workload, peer.prefix, 0))
        if process.name == "MatMul":
            return process.ask("vectors", workload=workload.name)["seconds"]
        expected = floats(self.reference(workload, peer.prefix).read_bytes())
        answer = process.ask("vectors", workload=workload.name)
        found = floats(base64.b64decode(answer["vectors"]))
        if len(found) != len(expected):
            raise Refused(f"it gave {len(found)} numbers in place of {len(expected)}")
        width = len(expected) // len(workload.words)
        cosines = [cosine(found[start:start + width], expected[start:start + width])
                   for start in range(0, len(found), width)]
        difference = max(map(abs, (a - b for a, b in zip(found, expected))))
        wrong = not difference <= peer.difference_max if peer.family == "fp32" else not min(cosines) >= COSINE_MIN
        if wrong:
            raise Refused(f"wrong vectors: the largest difference is {difference:.1g}, "
                          f"the least cosine {min(cosines):.4f}")
        if not self.store.of(**self.key(process.name, workload), check=True):
            self.store.add({**self.key(process.name, workload), "check": True, "difference": difference,
                            "cosines": [round(value, 6) for value in cosines]})
        return answer["seconds"]

    def family(self, names, works):
        """The first of `names` is libbge, to which the others are compared; as many as there is
        memory for are open at once."""
        ours, others = names[0], names[1:]
        size = max(1, self.args.open - 1)
        for start in range(0, max(1, len(others)), size):
            group = [ours, *others[start:start + size]]
            plan = {workload.name: self.missing(group, workload) for workload in works}
            if any(plan.values()):
                self.group(group, works, plan)

    def missing(self, group, workload):
        """For each repetition that is not complete, who has to run: libbge always runs with others."""
        having = {name: len(self.store.of(**self.key(name, workload), timed=True)) for name in group
                  if not self.refused(name, workload)
                  and not (name == "MatMul" and workload.kind in ("callers", "memory"))
                  and (peers.BY_NAME[name].concurrent or workload.kind != "callers")}
        wants = self.args.repeat if workload.kind in ("query", "bulk") else min(self.args.repeat, 3)
        if workload.kind == "bulk" and workload.alone():
            wants = 1
        rounds = []
        for repeat in range(wants):
            lacking = [name for name in having if having[name] <= repeat and name != group[0]]
            if lacking or having.get(group[0], wants) <= repeat:
                rounds.append([group[0], *lacking])
        return rounds

    def group(self, group, works, plan):
        self.progress.begin(sum(len(turn) for rounds in plan.values() for turn in rounds))
        needed = {name for rounds in plan.values() for turn in rounds for name in turn}
        processes = {}
        try:
            for workload in works:
                if not workload.alone():
                    for name in group:
                        if name in needed and name not in processes and not self.refused(name):
                            self.start(name, processes)
                    self.rounds(plan[workload.name], workload, processes)
        finally:
            for process in processes.values():
                process.close()
        for workload in works:
            if workload.alone():
                self.rounds(plan[workload.name], workload, None)

    def start(self, name, processes):
        try:
            process = self.process(name)
            process.ask("open")
            processes[name] = process
        except Refused as error:
            self.refuse(name, error)

    def rounds(self, rounds, workload, processes):
        checked = set()
        for number, turn in enumerate(rounds):
            self.stamp = max(self.stamp + 1, time.time_ns() // 1000)
            # Another order each time, so that nobody always follows the same peer.
            for name in turn[number % len(turn):] + turn[:number % len(turn)]:
                self.progress.step(f"{workload.name}, {number + 1} of {len(rounds)}, {name}")
                if self.refused(name, workload):
                    continue
                try:
                    if processes is None:
                        result = self.open_alone(name, workload)
                    else:
                        if name not in processes:
                            continue
                        if name not in checked:
                            self.check(processes[name], workload)
                            checked.add(name)
                        time.sleep(PAUSE)
                        result = self.measure(processes[name], workload)
                    self.store.add({**self.key(name, workload), "timed": True, "stamp": self.stamp, **result})
                except Refused as error:
                    self.refuse(name, error, workload)
                    if processes and processes[name].process.poll() is not None:
                        del processes[name]
                        self.start(name, processes)

    def measure(self, process, workload):
        if workload.kind != "callers":
            return {"seconds": process.ask("time", workload=workload.name)["seconds"]}
        answer = process.ask("callers", workload=workload.name, callers=workload.callers,
                             seconds=self.args.seconds)
        latencies = sorted(answer["latencies"])
        part = lambda of: latencies[min(len(latencies) - 1, int(len(latencies) * of))]
        return {"rate": len(latencies) / answer["elapsed"], "p50": part(0.5), "p99": part(0.99),
                "calls": len(latencies)}

    def open_alone(self, name, workload):
        process = self.process(name)
        try:
            opened = process.ask("open")
            seconds = self.check(process, workload)
            if workload.kind == "bulk":
                return {"seconds": seconds}
            return {"open": opened["seconds"], "rss": opened["rss"], "anonymous": opened["anonymous"],
                    "peak": process.ask("memory")["peak"]}
        finally:
            process.close()


class Progress:
    """A line for each turn, with what is left of all of them by the time they took so far."""

    def begin(self, turns):
        self.turns, self.done, self.start = turns, 0, time.monotonic()

    def step(self, text):
        left = (time.monotonic() - self.start) / max(1, self.done) * (self.turns - self.done)
        self.done += 1
        rest = f", about {left / 60:.0f} min left" if self.done > 10 else ""
        print(f"[{self.done}/{self.turns}] {text}{rest}", flush=True)


def given(workload, prefix, which):
    """The texts: as they are, or to a peer with a prefix, or (`which` is 1) what that makes of them."""
    texts = workload.texts()
    return [workloads.dropping_words(text, prefix)[which] for text in texts] if prefix else texts


def floats(data):
    numbers = array.array("f")
    numbers.frombytes(data)
    return numbers


def cosine(a, b):
    product = sum(x * y for x, y in zip(a, b))
    return product / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b) or 1)
