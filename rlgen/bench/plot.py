"""The picture of `rlgen bench --scale --out FILE.png`."""

from __future__ import annotations

from typing import Any

from rlgen.errors import MissingExtraError
from rlgen.files import replaced
from rlgen.pictures import COLOURS, theme


def draw(report: dict[str, Any], path: str) -> None:
    """Draw a PNG: rates over each axis above, and memory below.

    Raises:
        MissingExtraError: matplotlib is not installed.
        DiskError: the file cannot be written.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("--out needs matplotlib", "matplotlib") from None

    axes = list(dict.fromkeys(point["axis"] for point in report["scale"]))
    with matplotlib.rc_context(theme()):
        figure = Figure(figsize=(4.3 * len(axes), 5.6), layout="constrained")
        panels = figure.subplots(2, len(axes), squeeze=False)
        for column, axis in enumerate(axes):
            points = [point for point in report["scale"] if point["axis"] == axis]
            x = [point["value"] for point in points]
            rates, memory = panels[:, column]
            for colour, unit in zip(COLOURS, points[0]["costs"], strict=False):
                rate = [1e6 / point["costs"][unit] for point in points]
                rates.plot(x, rate, "o-", color=colour, label=unit.removeprefix("us per "), markersize=3)
            memory.plot(x, [point["bytes"] / 2**20 for point in points], "o-", color="#555555", markersize=3)
            rates.set(xscale="log", yscale="log", xlabel=axis, ylabel="per second")
            memory.set(xscale="log", ylim=(0, None), xlabel=axis, ylabel="MiB")
            rates.legend()
        machine = report["machine"]
        where = f"{machine['cpu']}, {machine['device']}, {machine['threads']} thread(s)"
        figure.suptitle(f"{where}, torch {report['versions']['torch']}")
        with replaced(path) as temporary:
            figure.savefig(temporary, format="png", dpi=120)
