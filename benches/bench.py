#!/usr/bin/env python3
"""Times libbge against its peers on the same weights, and writes docs/benchmarks/make-bench.md.

    make bench                                        multilingual-e5-small, about 40 minutes
    make bench MODEL=bge-m3-shaped                    random weights in the shape of bge-m3
    make bench ARGS="--only openvino,ctranslate2 --workloads query,512 --repeat 3"

Each peer is in a process of its own, and they work in turns: one at a time, with a pause between, in
another order each round. All have the same threads and the same weights, converted where a peer has
a format of its own. Every peer's vectors are compared with those of the reference before it is timed;
one that cannot be installed, or gives other vectors, is listed with the reason. Results are kept in
.cache/bench/MODEL/results.jsonl by versions and workload: a second run does what is missing.
"""

import argparse
import hashlib
from pathlib import Path

import peers
from harness import plots
from harness.report import Report
from harness.rounds import Run
from harness.store import Store
from harness.workloads import workloads
from libbge import LIBRARY, ROOT


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", type=Path)
    listed = lambda text: [name for name in text.split(",") if name]
    parser.add_argument("--only", type=listed, default=[], metavar="PEER,..",
                        help="these beside libbge, or fp32 or int8 for all of a kind: "
                             + ", ".join(peers.BY_NAME))
    parser.add_argument("--workloads", type=listed, default=[], metavar="NAME,..",
                        help="query, 16, 32, 128, 512, 2048, 8192, mixed, \"1 callers\" .., memory; or a kind: "
                             "bulk, callers")
    parser.add_argument("--repeat", type=int, default=5, help="rounds; callers and memory have 3 at most")
    parser.add_argument("--scale", type=float, help="of the numbers of texts; by default by the model's size")
    parser.add_argument("--seconds", type=float, default=3, help="that callers call for")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--open", type=int, help="processes at once; by default what memory allows")
    parser.add_argument("--limit", type=float, default=900, help="seconds that one command may take")
    parser.add_argument("--reference", default="sentence-transformers", metavar="PEER")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    parser.add_argument("--retry", action="store_true", help="forget only what was left out")
    parser.add_argument("--only-report", action="store_true", help="run nothing, show what is kept")
    parser.add_argument("--cache", type=Path, help="by default .cache/bench/MODEL")
    parser.add_argument("--report", type=Path, default=ROOT / "docs/benchmarks/make-bench.md")
    args = parser.parse_args()
    args.cache = args.cache or ROOT / ".cache/bench" / args.model_dir.resolve().name
    weights = sum(path.stat().st_size for path in args.model_dir.glob("*.safetensors"))
    if args.open is None:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        args.open = max(2, int(int(lines["MemAvailable"].split()[0]) * 1024 * 0.7 / (1.5 * weights)))
    if args.scale is None:
        args.scale = 1.0 if weights < 1e9 else 0.125
    known = {*peers.BY_NAME, *peers.OURS}
    unknown = [name for name in args.only if name not in known]
    if unknown:
        parser.error(f"no such peer: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return args


def chosen(args):
    """Names of peers in order. libbge runs with every peer of its kind."""
    fits = [peer for peer in peers.PEERS if not peer.only or peer.only == args.model_dir.resolve().name]
    wanted = {peer.name for peer in fits
              if not args.only or peer.name in args.only or peer.family in args.only}
    wanted |= {peers.OURS[peer.family] for peer in fits if peer.name in wanted}
    return [peer.name for peer in fits if peer.name in wanted]


def main():
    args = arguments()
    works = workloads(args.model_dir, args.scale, args.workloads)
    names = chosen(args)
    if not works or not names:
        raise SystemExit("nothing to run: no such workload for this model, or no such peer")
    build = hashlib.sha256(Path(LIBRARY).read_bytes()).hexdigest()[:12]
    versions = {name: peers.versions(name) or f"build {build}" for name in names}
    store = Store(args.cache / "results.jsonl", args.fresh)
    if args.retry:
        store.forget_refusals()
    run = Run(args, store, versions)
    run.names = names
    if not args.only_report:
        measure(run, names, works)
    report = Report(run, works)
    report.write(plots.draw(report, args.report.parent))
    print("\n".join(report.lines([])))
    print(f"written to {args.report}")


def measure(run, names, works):
    for name in names:
        if not run.refused(name):
            run.convert(name)
    prefixes = {"", *(peers.BY_NAME[name].prefix for name in names)}
    run.make_reference([(workload, prefix) for prefix in sorted(prefixes) for workload in works])
    for family, ours in peers.OURS.items():
        members = [name for name in names if peers.BY_NAME[name].family == family]
        if members:
            run.family(members, works)


if __name__ == "__main__":
    main()
