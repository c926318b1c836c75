"""What pages say of the rules, from their declarations and the default policy.

These are the tables of docs/RULES.md and README.md, and the ladder's steps in each runbook.

`python -m detectors.policies.rule_page` writes them; with `--check` it only says which are stale.
"""

import argparse
import string
import sys
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, get_args

from msgspec import structs

from detectors.policies.editions import load_policy
from detectors.policies.runbook_steps import steps_of
from detectors.rules.contract import Declaration, Section
from detectors.rules.registry import RULES
from schemas.policy import Policy, RuleParameters
from schemas.records import ActionKind
from schemas.units import DAY_MS, GB, HOUR_MS, MB, MINUTE_MS, SECOND_MS

ROOT = Path(__file__).parents[2]
REMEDY = "run `python -m detectors.policies.rule_page`"
BEGIN, END = "<!-- rules: begin, generated -->\n", "<!-- rules: end -->\n"

COLUMNS = (
    *("rule", "what", "limit", "regularly", "clause", "service", "restriction"),
    "what it misses",
)

RESTRICTION: dict[ActionKind, str] = {
    "throttle": "throttle to {rate_kbps:,} kbit/s",
    "cut_data": "no data until the customer consents or the month ends",
    "minimum_service": "minimum service",
    "convert_prepaid": "prepaid subscription",
    "deposit": "deposit",
    "charge": "charge",
    "restrict_storage": "no upload, no sharing",
    "delete_storage": "deletion",
    "suspend": "suspension",
    "reclaim_number": "the number is taken back",
    "report_upstream": "none: reported to the holder of the address",
}
"""How the page names what a rule may lead to."""


def duration(value_ms: int) -> str:
    """Milliseconds in the largest unit that divides them.

    Examples
    --------
    >>> duration(21_600_000), duration(900_000), duration(60_000)
    ('6 hours', '15 minutes', '1 minute')
    """
    units = {"day": DAY_MS, "hour": HOUR_MS, "minute": MINUTE_MS, "second": SECOND_MS}
    unit = next(unit for unit, length_ms in units.items() if value_ms % length_ms == 0)
    number = value_ms // units[unit]
    return f"{number:,} {unit}{'s' if number != 1 else ''}"


def size(value: int) -> str:
    """Bytes as gigabytes, or as megabytes where they are less than one."""
    return f"{value / GB:g} GB" if value >= GB else f"{value / MB:g} MB"


FORMATS: dict[str, Callable[[int], str]] = {
    "ms": duration,
    "seconds": lambda value: duration(value * SECOND_MS),
    "bytes": size,
    "kilobytes": lambda value: size(value * 1000),
    "per_mille": lambda value: f"{value / 10:g} %",
}
"""What may follow the colon in a cell's `{parameter:format}`, besides Python's own formats."""


class _Cells(string.Formatter):
    def format_field(self, value: Any, format_spec: str) -> Any:
        told = FORMATS.get(format_spec)
        return told(value) if told else super().format_field(value, format_spec)


def texts(policy: Policy) -> dict[str, str]:
    """The generated part of each page, by its path from the repository's root."""
    runbooks = {f"deploy/runbooks/{name}.md": steps_of(name, policy) for name in RULES}
    return {"docs/RULES.md": _tables(policy), "README.md": _overview()} | runbooks


def _tables(policy: Policy) -> str:
    lines = []
    for section, names in _sections():
        lines += ["", f"## {section}", "", _row(COLUMNS), "|---" * len(COLUMNS) + "|"]
        lines += [_row(_cells(name, policy)) for name in names]
    return "\n".join([*lines, "", ""])


def _overview() -> str:
    """The ids of the rules by section."""
    rows = [
        _row((section.lower(), ", ".join(f"`{name}`" for name in names)))
        for section, names in _sections()
    ]
    return "\n".join(["", _row(("about", "rules")), "|---|---|", *rows, "", ""])


def _sections() -> Iterator[tuple[str, list[str]]]:
    order = get_args(Section)

    def place(name: str) -> int:
        return order.index(RULES[name].declaration.section)

    for at, names in groupby(sorted(RULES, key=place), place):
        yield order[at], list(names)


def _cells(name: str, policy: Policy) -> tuple[str, ...]:
    parameters, declared = policy.rules[name], RULES[name].declaration
    known = structs.asdict(parameters) | {"default_plan": policy.default_plan}

    def cell(template: str) -> str:
        return _Cells().vformat(template, (), known)

    follows = [cell(RESTRICTION[parameters.restriction])]
    follows += ["at once"] * parameters.at_once
    follows += ["after a person's review"] * parameters.human_review
    return (
        f"[`{name}`](../deploy/runbooks/{name}.md)",
        cell(declared.what),
        cell(declared.limit),
        _regularly(parameters, declared),
        parameters.clause,
        parameters.service,
        ", ".join(follows),
        cell(declared.misses),
    )


def _regularly(parameters: RuleParameters, declared: Declaration) -> str:
    needed, window = (getattr(parameters, f"regular_{n}", None) for n in ("periods", "window"))
    return f"{needed} of {window} {declared.period}s" if needed else "no"


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def stale(folder: Path = ROOT) -> dict[str, str]:
    """The pages that are not as they are generated, each as it has to be, by path."""
    found = {}
    for path, text in texts(load_policy()).items():
        page = (folder / path).read_text(encoding="utf-8")
        before, rest = page.split(BEGIN)
        _, after = rest.split(END)
        wanted = before + BEGIN + text + END + after
        if wanted != page:
            found[path] = wanted
    return found


def main(arguments: list[str] | None = None, folder: Path = ROOT) -> int:
    """Write the stale pages, or with `--check` say which are stale; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m detectors.policies.rule_page")
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 when stale")
    is_check = parser.parse_args(arguments).check
    pages = stale(folder)
    for path, text in pages.items():
        if is_check:
            sys.stderr.write(f"{path} is stale: {REMEDY}\n")
        else:
            (folder / path).write_text(text, encoding="utf-8", newline="\n")
    return 1 if is_check and pages else 0


if __name__ == "__main__":
    sys.exit(main())
