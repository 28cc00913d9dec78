"""Plots of the same numbers as SVG files."""

import statistics

import peers


def draw(report, folder):
    """The paths of the plots, none where matplotlib is missing."""
    try:
        import matplotlib
    except ImportError:
        print("no plots: matplotlib is not installed")
        return []
    matplotlib.use("svg")
    # Text stays text and ids stay the same, so that files are small and change little.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bge", "font.size": 9,
                                "axes.spines.top": False, "axes.spines.right": False})
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for family in peers.OURS:
        for kind, plot in (("speed", speed), ("callers", callers)):
            figure = plot(report, family)
            if figure:
                made.append(save(figure, folder / f"{report.name}-{kind}-{family}.svg"))
    figure = memory(report)
    if figure:
        made.append(save(figure, folder / f"{report.name}-memory.svg"))
    return made


def save(figure, path):
    from matplotlib import pyplot
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
    return path


def speed(report, family):
    """A row for each peer, a mark for each workload, a line for the range of its ratios."""
    from matplotlib import pyplot
    names = report.measured(family)
    works = [workload for workload in report.kind("query", "bulk")
             if any(report.ratios(name, workload) for name in names)]
    if not works:
        return None
    figure, axes = pyplot.subplots(figsize=(7, 0.8 + 0.5 * len(names)))
    for place, workload in enumerate(works):
        offset = (place - (len(works) - 1) / 2) * 0.7 / len(works)
        points = [(statistics.median(ratios), row + offset, ratios) for row, name in enumerate(names)
                  if (ratios := report.ratios(name, workload))]
        axes.errorbar([x for x, _, _ in points], [y for _, y, _ in points], fmt="o", markersize=3, linewidth=1,
                      xerr=[[x - ratios[0] for x, _, ratios in points], [ratios[-1] - x for x, _, ratios in points]],
                      label=f"{workload.name}{'' if workload.name in ('query', 'mixed') else ' tokens'}")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel(f"{peers.OURS[family]} is so many times as fast ({report.name})")
    axes.legend(frameon=False, bbox_to_anchor=(1, 1), loc="upper left")
    return figure


def callers(report, family):
    from matplotlib import pyplot
    if not any(report.records(peers.OURS[family], workload) for workload in report.kind("callers")):
        return None
    figure, axes = pyplot.subplots(figsize=(5, 3))
    for name in report.with_ours(family):
        points = [(workload.callers, statistics.median(record["rate"] for record in records))
                  for workload in report.kind("callers") if (records := report.records(name, workload))]
        if points:
            axes.plot(*zip(*points), marker="o", markersize=3, label=name,
                      linewidth=2 if name in peers.OURS.values() else 1)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("calling threads, each one text of 8 to 16 tokens a call")
    axes.set_ylabel("texts a second")
    axes.legend(frameon=False, bbox_to_anchor=(1, 1), loc="upper left")
    return figure


def memory(report):
    from matplotlib import pyplot
    rows = [(name, [statistics.median(record[key] for record in records) for key in ("peak", "rss", "anonymous")])
            for workload in report.kind("memory") for name in report.run.names
            if (records := report.records(name, workload))]
    if not rows:
        return None
    figure, axes = pyplot.subplots(figsize=(6, 0.8 + 0.3 * len(rows)))
    for place, label in enumerate(("at most", "after opening", "of that, not pages of files")):
        axes.barh([name for name, _ in rows], [values[place] for _, values in rows], label=label,
                  height=0.7 - 0.2 * place)
    axes.invert_yaxis()
    axes.set_xlabel("MB resident")
    axes.legend(frameon=False, bbox_to_anchor=(1, 1), loc="upper left")
    return figure
