"""Who was planted against who was found, rule by rule."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
from rich.table import Table

from detectors.rules.registry import RULES
from schemas.records import Finding
from streams.errors import FairuseError
from streams.synthetic.generator import Expected


class Planted(msgspec.Struct):
    """What `fairuse generate --planted-out` writes, as far as it is needed here."""

    rules: dict[str, Expected]


class PlantedError(FairuseError):
    """A file that does not say who was planted."""


def read_planted(path: Path) -> dict[str, Expected]:
    """Whom each rule must find, and whom it may, from a file of `fairuse generate`."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Planted).rules
    except (OSError, msgspec.DecodeError) as error:
        raise PlantedError(
            f"{path} does not say who was planted ({error}): name a file of `fairuse generate "
            "--planted-out`"
        ) from None


class Scoreboard:
    """Counts findings as they come.

    Who may be found, for a part may break other rules too, is neither missed nor wrong.
    """

    def __init__(self, expected: Mapping[str, Expected]) -> None:
        self.expected = expected
        self._found: defaultdict[str, set[str]] = defaultdict(set)
        self._findings: Counter[str] = Counter()

    def see(self, findings: Iterable[Finding]) -> None:
        """Take in findings, each of them once."""
        for finding in findings:
            self._found[finding.rule].add(finding.customer_id)
            self._findings[finding.rule] += 1

    def table(self) -> Table:
        """A line for each rule there is."""
        table = Table("rule", box=None, pad_edge=False, header_style="bold")
        for name in ("planted", "found", "missed", "wrong", "findings"):
            table.add_column(name, justify="right")
        for rule, planted in sorted(self.expected.items()):
            if rule in RULES:
                hit = self._found[rule]
                wrong = hit - planted.must - planted.may
                sizes = map(len, (planted.must, planted.must & hit, planted.must - hit, wrong))
                table.add_row(rule, *map(str, sizes), str(self._findings[rule]))
        return table
