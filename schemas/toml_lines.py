"""Line numbers of tables and keys in a TOML document, for messages about mistakes in it."""

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
"""Names in the longest key that is looked for, such as rules.sms_daily.limit."""

Path = tuple[str, ...]


def line_of(text: str, path: Path, key: str | None = None) -> int:
    """Line of a key; without that key, of the innermost table around it that is there; else 1.

    Parameters
    ----------
    text
        A document that `tomllib` reads.
    path
        Names of the tables around the key, outermost first.
    key
        Name of the key in the innermost table; None for the table itself.

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
    """Line of each table and key, also of inline ones; of repeated ones the first."""
    reader = _Reader()
    for token in TOKEN.finditer(text):
        if token["mark"]:
            reader.take_mark(token["mark"])
        elif name := token["text"] or token["word"]:
            reader.take_name(name)
        reader.line += token[0].count("\n")
    return reader.lines


class _Reader:
    """Reads a document token by token; `_names` holds the key so far, None within a value.

    `_around` has, for each open list or inline table, its bracket and the table and key around it.
    """

    def __init__(self) -> None:
        self.line = 1
        self.lines: dict[Path, int] = {}
        self._table: Path = ()
        self._key: Path = ()
        self._names: list[str] | None = []
        self._around: list[tuple[str, Path, Path]] = []

    def take_name(self, name: str) -> None:
        """Take a word or string: part of a key, or of a value, which is skipped."""
        if self._names is not None:
            quoted = name[0] in "\"'"
            self._names.append(tomllib.loads(f"name = {name}")["name"] if quoted else name)

    def take_mark(self, mark: str) -> None:
        """Take a character that begins or ends a key, a table or a list."""
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
        """The character after which the next key begins; None in a list, which has no keys."""
        if not self._around:
            return "\n"
        return "," if self._around[-1][0] == "{" else None

    def _found(self, table: Path) -> Path:
        """Note the line of the key or table heading that has just ended, and return it."""
        found = (*table, *(self._names or ()))[:PARTS_MAX]
        self._names = None
        for size in range(1, len(found) + 1):
            self.lines.setdefault(found[:size], self.line)
        return found
