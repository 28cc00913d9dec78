"""Tables of what was measured, put between two marks of a Markdown file."""

import json
import os
import statistics
from datetime import date
from pathlib import Path

import peers


class Report:
    def __init__(self, run, works):
        self.run, self.store, self.works = run, run.store, works
        self.name = run.args.model_dir.resolve().name

    # Numbers.

    def records(self, name, workload):
        return self.store.of(**self.run.key(name, workload), timed=True) if name in self.run.names else []

    def times(self, name, workload):
        """By stamp, the seconds of one turn: of all texts, or of a query (the median of them); or
        those that each text of many callers took."""
        def of(record):
            if workload.kind == "callers":
                return 1 / record["rate"]
            return statistics.median(record["seconds"]) if workload.kind == "query" else sum(record["seconds"])
        return {record["stamp"]: of(record) for record in self.records(name, workload)}

    def ratios(self, name, workload, ours=None):
        """How many times as fast libbge was in the same round: above 1, it is faster."""
        ours = self.times(ours or peers.OURS[peers.BY_NAME[name].family], workload)
        theirs = self.times(name, workload)
        return sorted(theirs[stamp] / ours[stamp] for stamp in theirs if stamp in ours)

    def measured(self, family):
        """Peers of the family that took part, without libbge and the products."""
        return [name for name in self.run.names if peers.BY_NAME[name].family == family
                and name not in (peers.OURS[family], "MatMul")
                and any(self.records(name, workload) for workload in self.works)]

    def with_ours(self, family):
        ours = peers.OURS[family]
        return [ours, *self.measured(family)] if ours in self.run.names else []

    def rounds(self):
        counts = {len(self.records(name, workload)) for name in self.run.names for workload in self.works} - {0}
        least, most = min(counts, default=0), max(counts, default=0)
        return f"{most}" if least == most else f"{least} to {most}"

    def kind(self, *kinds):
        return [workload for workload in self.works if workload.kind in kinds]

    def flops(self, workload):
        config = json.loads((self.run.args.model_dir / "config.json").read_text())
        hidden, inner = config["hidden_size"], config["intermediate_size"]
        linear = sum(2 * length * (4 * hidden * hidden + 2 * hidden * inner) for length in workload.lengths)
        attention = sum(4 * length * length * hidden for length in workload.lengths)
        return linear * config["num_hidden_layers"], attention * config["num_hidden_layers"]

    # Tables.

    def speed(self, family):
        works, ours = self.kind("query", "bulk"), peers.OURS[family]
        works = [workload for workload in works if self.times(ours, workload)]
        if not works:
            return []
        head = [f"{workload.name}" for workload in works]
        first = []
        for workload in works:
            seconds = statistics.median(self.times(ours, workload).values())
            first.append(f"{seconds * 1e3:.1f} ms" if workload.kind == "query" else
                         f"{workload.tokens() / seconds:.0f} tokens/s")
        rows = [["texts", *(str(len(workload.lengths)) for workload in works)], [f"**{ours}**", *first]]
        rows += [[name, *(spread(self.ratios(name, workload)) for workload in works)]
                 for name in self.measured(family)]
        if family == "int8" and "libbge" in self.run.names:
            rows.append(["libbge (fp32, another group)", *(
                self.times("libbge", workload) and
                f"{statistics.median(self.times('libbge', workload).values()) / statistics.median(self.times(ours, workload).values()):.2f}"
                or "" for workload in works)])
        return table([f"{family}, {self.run.args.threads} threads", *head], rows)

    def accuracy(self, family):
        rows = []
        for name in self.with_ours(family):
            checks = self.store.of(peer=name, versions=self.run.versions[name], check=True)
            if not checks:
                continue
            cosines = [value for check in checks for value in check["cosines"]]
            worst = max(check["difference"] for check in checks)
            rows.append([name, self.run.versions[name], peers.BY_NAME[name].note, f"{worst:.1e}",
                         f"{statistics.mean(cosines):.5f}", f"{min(cosines):.5f}"])
        return table(["peer", "version", "as it is used", "largest difference", "cosine, mean", "least"], rows)

    def callers(self, family):
        rows = []
        for name in self.with_ours(family):
            for workload in self.kind("callers"):
                records = self.records(name, workload)
                if records:
                    median = lambda key: statistics.median(record[key] for record in records)
                    rows.append([name, str(workload.callers), f"{median('rate'):.1f}",
                                 f"{median('p50') * 1e3:.1f}", f"{median('p99') * 1e3:.1f}",
                                 "" if name in peers.OURS.values() else spread(self.ratios(name, workload))])
        return table(["peer", "callers", "texts/s", "p50 ms", "p99 ms", "libbge's texts/s to its"], rows)

    def memory(self):
        rows = []
        for workload in self.kind("memory"):
            for name in self.run.names:
                records = self.records(name, workload)
                if records:
                    median = lambda key: statistics.median(record[key] for record in records)
                    rows.append([name, f"{median('open'):.2f}", f"{median('rss'):.0f}",
                                 f"{median('anonymous'):.0f}", f"{median('peak'):.0f}"])
        return table(["peer", "s to open", "MB then", "without pages of files", "MB at most"], rows)

    def products(self):
        rows = []
        for workload in self.kind("bulk"):
            if len(set(workload.lengths)) > 1:
                continue
            ours, products = self.times("libbge", workload), self.times("MatMul", workload)
            stamps = sorted(set(ours) & set(products))
            if not stamps:
                continue
            linear, attention = self.flops(workload)
            rate = lambda flops, times: flops / statistics.median(times[stamp] for stamp in stamps) / 1e9
            shares = sorted((linear + attention) / ours[stamp] / (linear / products[stamp]) for stamp in stamps)
            rows.append([workload.name, f"{attention / (linear + attention):.0%}", f"{rate(linear, products):.0f}",
                         f"{rate(linear + attention, ours):.0f}", spread(shares)])
        return table(["tokens a text", "of them attention", "MatMul alone, GFLOP/s", "libbge, GFLOP/s", "ratio"], rows)

    def faster(self):
        """Where a peer was faster, so that nobody has to look for it."""
        found = []
        for family in peers.OURS:
            for name in self.measured(family):
                for workload in self.kind("query", "bulk", "callers"):
                    ratios = self.ratios(name, workload)
                    if ratios and statistics.median(ratios) < 1:
                        found.append(f"* {name}, {workload.name}: {spread(ratios)}")
        return found or ["None."]

    def left_out(self):
        latest = {}
        for name in self.run.names:
            for record in self.store.of(peer=name, versions=self.run.versions[name]):
                if "refused" in record:
                    latest[name, record.get("workload", "")] = record["refused"]
        lines = [f"* {name}{f', {workload}' if workload else ''}: {why}"
                 for (name, workload), why in latest.items()]
        others = [f"* {name}: {why}" for name, why in peers.LEFT_OUT.items()]
        others += [f"* {peer.name}: its weights are those of {peer.only}" for peer in peers.PEERS
                   if peer.only and peer.only != self.name]
        return lines + others

    def lines(self, plots):
        args = self.run.args
        lines = [f"## {date.today()}, {self.name}", "",
                 f"    make bench MODEL={self.name}", "",
                 f"{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[2]:.1f} over the last 15 minutes. "
                 f"{args.threads} threads for everyone, {self.rounds()} rounds. Ratios: how many times as fast "
                 "libbge was as the peer in the same round, above 1 if libbge was faster; median, least and greatest. "
                 "\"ids in batches\": the peer has no tokenizer, so it gets ids that were made before the clock started, "
                 "sorted by length, 32 texts a batch, padded to the longest. The others get texts. "
                 f"Differences and cosines are to the vectors of {args.reference}.", ""]
        for title, body in [
                ("Speed in fp32", self.speed("fp32")),
                ("Where a peer was faster", self.faster()),
                ("How near libbge comes to the matrix products alone", self.products()),
                ("Many callers, each one text of 8 to 16 tokens after another", self.callers("fp32")),
                ("Opening, and memory of a process that opens and encodes once", self.memory()),
                ("Speed with weights of 8 bits or less", self.speed("int8")),
                ("Many callers, weights of 8 bits or less", self.callers("int8")),
                ("Peers in fp32", self.accuracy("fp32")),
                ("Peers with weights of 8 bits or less", self.accuracy("int8")),
                ("Left out", self.left_out())]:
            if body:
                lines += [f"### {title}", "", *body, ""]
        for plot in plots:
            lines += [f"![{plot.stem}]({os.path.relpath(plot, args.report.parent)})", ""]
        return lines

    def write(self, plots):
        """In place of the last report of this model, else at the end."""
        path = self.run.args.report
        begin, end = f"<!-- make bench: {self.name} -->", f"<!-- end of make bench: {self.name} -->"
        text = path.read_text() if path.exists() else ""
        body = "\n".join([begin, "", *self.lines(plots), end])
        if begin in text and end in text:
            text = text[:text.index(begin)] + body + text[text.index(end) + len(end):]
        else:
            text = text.rstrip("\n") + ("\n\n" if text else "") + body + "\n"
        path.write_text(text)


def spread(values):
    if not values:
        return ""
    middle = f"{statistics.median(values):.2f}"
    return middle if len(values) == 1 else f"{middle} ({values[0]:.2f}-{values[-1]:.2f})"


def table(head, rows):
    if not rows:
        return []
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return "an unknown processor"
