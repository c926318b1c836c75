"""Compares who was planted with who was found, rule by rule."""

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
    """The part of what `fairuse generate --planted-out` writes that is needed here."""

    rules: dict[str, Expected]


class PlantedError(FairuseError):
    """A file does not say who was planted; the message says what to do."""


def read_planted(path: Path) -> dict[str, Expected]:
    """Read whom each rule must find, and whom it may find.

    Parameters
    ----------
    path
        A file of `fairuse generate --planted-out`.

    Returns
    -------
    The expected customers, by rule.

    Raises
    ------
    PlantedError
        The file can't be read, or is of another kind.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Planted).rules
    except (OSError, msgspec.DecodeError) as error:
        raise PlantedError(
            f"{path} does not say who was planted ({error}): name a file of `fairuse generate "
            "--planted-out`"
        ) from None


class Scoreboard:
    """Counts findings by rule. A customer who only may be found is neither missed nor wrong.

    Parameters
    ----------
    expected
        Whom each rule must find, and whom it may find.
    """

    def __init__(self, expected: Mapping[str, Expected]) -> None:
        self.expected = expected
        self._found: defaultdict[str, set[str]] = defaultdict(set)
        self._findings: Counter[str] = Counter()

    def see(self, findings: Iterable[Finding]) -> None:
        """Count findings.

        Parameters
        ----------
        findings
            Findings that were not counted before.
        """
        for finding in findings:
            self._found[finding.rule].add(finding.customer_id)
            self._findings[finding.rule] += 1

    def table(self) -> Table:
        """Make the table for the terminal.

        Returns
        -------
        A line for each rule.
        """
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
