"""Curves as pictures: plain SVG that reads on a white page and on a black one."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from schemas.policy import Policy
from tests.bench.sweep import Curve, Sweep, perfect_range

INK, PRECISION, RECALL = "#7b7f86", "#2f86d6", "#dd6b20"
"""Each stands out by at least three to one against white and against GitHub's dark page."""

STYLE = {
    "font.size": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "fairuse",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
PANEL_INCHES = (4.2, 2.7)


def draw(path: Path, panels: Sequence[tuple[Sweep, Curve]], policy: Policy) -> None:
    """Draw a rule's curves beside each other."""
    width, height = PANEL_INCHES
    with mpl.rc_context(STYLE):
        size = (width * len(panels), height)
        figure = Figure(figsize=size)
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)
        for each, (sweep, curve) in zip(axes[0], panels, strict=True):
            _panel(each, sweep, curve, policy)
        axes[0][0].set_ylabel("share of customers")
        figure.legend(
            *axes[0][0].get_legend_handles_labels(),
            loc="upper left",
            ncols=3,
            frameon=False,
            borderaxespad=0.2,
            handlelength=1.6,
            columnspacing=1.4,
        )
        figure.tight_layout(rect=(0, 0, 1, 0.92))
        path.parent.mkdir(exist_ok=True)
        figure.savefig(path, transparent=True, metadata={"Date": None})


def _panel(axes: Axes, sweep: Sweep, curve: Curve, policy: Policy) -> None:
    """Precision and recall of the graded parts, the policy's threshold, and where all is right."""
    chosen = sweep.set_in(policy)
    across = [threshold / sweep.unit_size for threshold in curve]
    tallies = [point.graded for point in curve.values()]
    marked = {"marker": "o", "markersize": 2.6, "linewidth": 1.6, "clip_on": False}
    precision = [float("nan") if t.precision is None else t.precision for t in tallies]
    axes.plot(across, precision, color=PRECISION, label="precision", **marked)
    axes.plot(across, [t.recall for t in tallies], color=RECALL, label="recall", **marked)
    if perfect := perfect_range(curve, chosen):
        first, last = (threshold / sweep.unit_size for threshold in perfect)
        label = "both 1.0 in clear cases"
        axes.axvspan(first, last, color=INK, alpha=0.16, linewidth=0, label=label)
    axes.axvline(chosen / sweep.unit_size, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        f"policy {sweep.shown(chosen)}",
        (chosen / sweep.unit_size, 1.02),
        xycoords=("data", "axes fraction"),
        ha="center",
        va="bottom",
    )
    if sweep.is_logarithmic:
        axes.set_xscale("log")
        axes.minorticks_off()
    axes.set(xlabel=sweep.label, ylim=(0, 1.0), yticks=(0, 0.25, 0.5, 0.75, 1))
    axes.tick_params(length=3, width=0.8)
