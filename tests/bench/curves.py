"""Precision and recall of the scored rules over their thresholds, on generated operators."""

import importlib.util
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import msgspec

from detectors.policies.editions import load_policy
from schemas.policy import Policy
from streams.clock import wall_clock
from streams.files.sources import chunks
from streams.synthetic.generator import Operator, OperatorShape
from streams.synthetic.parts import PARTS
from tests.bench.figures import Figures, note
from tests.bench.graded import graded_parts
from tests.bench.sweep import (
    SWEEPS,
    Curve,
    Events,
    Planted,
    Point,
    Sweep,
    found_at,
    perfect_range,
)

DOCS = Path(__file__).parents[2] / "docs"
PAGE, PICTURES = DOCS / "CURVES.md", DOCS / "curves"
TABLE_BEGINS, TABLE_ENDS = "<!-- measured -->\n", "<!-- end of measured -->\n"
COLUMNS = (
    "rule",
    "threshold",
    "in the policy",
    "clear cases: precision",
    "recall",
    "both 1.0 at",
    "graded cases: precision",
    "recall",
    "who else is found",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Populations:
    """The operators that are played, and how many play each graded part in each of them.

    With fewer `partitions` a replay is faster, and `gateway` sees more SIMs of a box.
    """

    seeds: Sequence[int]
    customers: int
    players: int
    partitions: int
    days: int = 38


FULL = Populations(seeds=(1, 2, 3), customers=3_000, players=40, partitions=8)
QUICK = Populations(seeds=(1,), customers=600, players=6, partitions=1)


class Played:
    """An operator among whose customers some play the graded parts, with all its events."""

    def __init__(self, populations: Populations, seed: int, folder: Path) -> None:
        graded = graded_parts(populations.players)
        shape = OperatorShape(customers=populations.customers, days=populations.days, seed=seed)
        operator = Operator(shape, (*PARTS, *graded))
        path = folder / f"{seed}.ndjson"
        encoder = msgspec.json.Encoder()
        with path.open("wb") as file:
            file.writelines(map(encoder.encode_lines, operator.days()))
        events = list(chunks([path], wall_clock))
        self.events = Events(operator.customers(), events, populations.partitions)
        path.unlink()
        self.expected, self.cast = operator.expected, operator.cast
        self.part_of = {each: name for name, players in self.cast.items() for each in players}
        self.graded = frozenset().union(*(self.cast[part.name] for part in graded))

    def clear_cases(self, rule: str) -> Planted:
        """Whom the operator itself planted; those who play graded parts are left out."""
        must = self.expected[rule].must - self.graded
        return Planted(must, self.expected[rule].may | self.graded)

    def graded_cases(self, rule: str) -> Planted:
        """The graded abusers; those whom the operator itself planted are left out."""
        expected, must = self.expected[rule], self.cast[f"graded_{rule}"]
        return Planted(must, expected.may | (expected.must - must))

    def add_to(self, curve: Curve, sweep: Sweep, policy: Policy) -> None:
        """Add this operator's customers to a curve."""
        clear, graded = self.clear_cases(sweep.rule), self.graded_cases(sweep.rule)
        for threshold, found in found_at(self.events, policy, sweep):
            point = curve[threshold]
            point.clear += clear.tally(found)
            point.graded += graded.tally(found)
            others = found - graded.must - graded.may
            point.others.update(self.part_of.get(each, "ordinary") for each in others)


def run_curves(*, quick: bool) -> int:
    """Measure every curve; without `quick`, also draw the pictures and write the page's table."""
    if not quick and importlib.util.find_spec("matplotlib") is None:
        note("pictures want matplotlib: run `pip install 'fairuse[bench]'`, or add --quick")
        return 1
    populations, policy = QUICK if quick else FULL, load_policy()
    curves = measured(populations, policy, SWEEPS)
    figures = Figures(quick=quick, **msgspec.to_builtins(populations))
    for sweep, curve in zip(SWEEPS, curves, strict=True):
        put(figures, sweep, curve)
    if not quick:
        # Only a full run draws, and only drawing needs matplotlib.
        from tests.bench.pictures import draw

        for rule, group in groupby(zip(SWEEPS, curves, strict=True), lambda pair: pair[0].rule):
            draw(PICTURES / f"{rule}.svg", list(group), policy)
        write_table(PAGE, table(SWEEPS, curves, policy))
    return 0


def measured(populations: Populations, policy: Policy, sweeps: Sequence[Sweep]) -> list[Curve]:
    """The curve of each sweep, over all operators together."""
    curves = [{threshold: Point() for threshold in sweep.thresholds} for sweep in sweeps]
    with tempfile.TemporaryDirectory(prefix="fairuse-curves-") as folder:
        for seed in populations.seeds:
            note(f"playing the operator of seed {seed}")
            played = Played(populations, seed, Path(folder))
            for sweep, curve in zip(sweeps, curves, strict=True):
                note(f"{sweep.rule} {sweep.parameter}")
                played.add_to(curve, sweep, policy)
    return curves


def put(figures: Figures, sweep: Sweep, curve: Curve) -> None:
    """Print a curve's figures."""
    for threshold, point in curve.items():
        about = {"rule": sweep.rule, "parameter": sweep.parameter, "threshold": threshold}
        for population in ("clear", "graded"):
            tally = getattr(point, population)
            counts = about | {"population": population} | msgspec.to_builtins(tally)
            figures.put("recall", tally.recall, "ratio", "numpy", **counts)
            if tally.precision is not None:
                figures.put("precision", tally.precision, "ratio", "numpy", **counts)


# -- the page -----------------------------------------------------------------------------------


def table(sweeps: Sequence[Sweep], curves: Sequence[Curve], policy: Policy) -> str:
    """A line for each threshold that the policy sets."""
    lines: list[Iterable[str]] = [COLUMNS, ["---"] * len(COLUMNS)]
    lines += [_line(sweep, curve, policy) for sweep, curve in zip(sweeps, curves, strict=True)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _line(sweep: Sweep, curve: Curve, policy: Policy) -> Iterator[str]:
    threshold = sweep.set_in(policy)
    point = curve[threshold]
    yield f"`{sweep.rule}`"
    yield f"`{sweep.parameter}`: {sweep.label}"
    yield sweep.shown(threshold)
    yield from map(_ratio, (point.clear.precision, point.clear.recall))
    perfect = perfect_range(curve, threshold)
    yield " to ".join(map(sweep.shown, perfect)) if perfect else "never"
    yield from map(_ratio, (point.graded.precision, point.graded.recall))
    others = (f"{count} of `{part}`" for part, count in point.others.most_common())
    yield ", ".join(others) or "nobody"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def write_table(page: Path, text: str) -> None:
    """Put a table in the place of the one that the page holds."""
    before, _, rest = page.read_text(encoding="utf-8").partition(TABLE_BEGINS)
    _, _, after = rest.partition(TABLE_ENDS)
    page.write_text(f"{before}{TABLE_BEGINS}\n{text}\n{TABLE_ENDS}{after}", encoding="utf-8")
