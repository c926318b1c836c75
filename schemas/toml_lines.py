"""Where tables and keys stand in a TOML document, for whoever has to mend one."""

import re
import tomllib
from functools import lru_cache

TOKEN = re.compile(
    r"""
      (?P<text> \"{3} (?: \\. | [^\\] )*? \"{3,5} | '{3} .*? '{3,5}
              | " (?: \\. | [^"\\\n] )* " | ' [^'\n]* ' )
    | (?P<comment> \# [^\n]* )
    | (?P<mark> [\[\]{}=,\n] )
    | (?P<word> [^\s\[\]{}=,.\#"']+ )
    """,
    re.VERBOSE | re.DOTALL,
)

PARTS_MAX = 3
"""Nothing deeper than rules.sms_daily.limit is ever looked for."""

Path = tuple[str, ...]


def line_of(text: str, path: Path, key: str | None = None) -> int:
    """Line of a key, or of its table, or of the table around that, or the first line.

    Parameters
    ----------
    text
        A document that `tomllib` reads.
    path
        Names of the tables around the key, the outermost first.
    key
        What to look for in there; None for the table itself.

    Examples
    --------
    >>> line_of('[rules]\\n"sms" = {limit = 1}', ("rules", "sms"), "limit")
    2
    """
    lines, wanted = _lines_of(text), path if key is None else (*path, key)
    while wanted and wanted not in lines:
        wanted = wanted[:-1]
    return lines.get(wanted, 1)


@lru_cache(maxsize=1)
def _lines_of(text: str) -> dict[Path, int]:
    """The line of each table and key, inline ones too; of one that comes again, the first."""
    reader = _Reader()
    for token in TOKEN.finditer(text):
        if token["mark"]:
            reader.take_mark(token["mark"])
        elif name := token["text"] or token["word"]:
            reader.take_name(name)
        reader.line += token[0].count("\n")
    return reader.lines


class _Reader:
    """Follows a document token by token; what comes is either part of a key or of its value."""

    def __init__(self) -> None:
        self.line = 1
        self.lines: dict[Path, int] = {}
        self._table: Path = ()
        self._key: Path = ()
        self._names: list[str] | None = []
        self._around: list[tuple[str, Path, Path]] = []

    def take_name(self, name: str) -> None:
        """A part of a key, as it is written; a value's text does not matter."""
        if self._names is not None:
            quoted = name[0] in "\"'"
            self._names.append(tomllib.loads(f"name = {name}")["name"] if quoted else name)

    def take_mark(self, mark: str) -> None:
        """What begins or ends a key, a table or a list."""
        if mark == "=":
            self._key = self._found(self._table)
        elif mark in "[{" and self._names is None:
            self._around.append((mark, self._table, self._key))
            self._table = self._key
            self._names = [] if mark == "{" else None
        elif mark in "]}" and self._around:
            _, self._table, self._key = self._around.pop()
            self._names = None
        elif mark == "]" and self._names:
            self._table = self._found(())
        elif mark == self._separator():
            self._names = []

    def _separator(self) -> str | None:
        """What stands before the next key; None in a list, which has none."""
        if not self._around:
            return "\n"
        return "," if self._around[-1][0] == "{" else None

    def _found(self, table: Path) -> Path:
        """The key or heading that was just read to its end."""
        found = (*table, *(self._names or ()))[:PARTS_MAX]
        self._names = None
        for size in range(1, len(found) + 1):
            self.lines.setdefault(found[:size], self.line)
        return found
