"""The words of the page: a TOML file for each language, all with the same keys."""

import re
import tomllib
from functools import cache
from importlib.resources import files

import msgspec
from msgspec import Struct

LANGUAGES = ("en", "nl", "fr")
BEFORE_SIGN = re.compile(" (?=[:;?!])")
"""French has a space before these signs; no line may break there."""

Table = dict[str, str]


class Texts(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One language's words; the keys of `seen` are rules and units, of `signs` rules and signs."""

    locale: str
    moment: str
    span: str
    through: str
    within: str
    since: str
    no_limit: str
    limit: str
    times: str
    regularly: str
    labels: Table
    title: Table
    follows: Table
    until: Table
    notice: Table
    waived: Table
    objection: Table
    verdict: Table
    difference: Table
    gone: Table
    remark: Table
    service: Table
    periods: Table
    windows: Table
    documents: Table
    seen: dict[str, Table]
    signs: dict[str, Table]


@cache
def texts_in(language: str) -> Texts:
    """Read the words of a language.

    Parameters
    ----------
    language
        One of `LANGUAGES`.

    Returns
    -------
    The words.
    """
    written = files(__name__).joinpath(f"{language}.toml").read_text(encoding="utf-8")
    written = BEFORE_SIGN.sub("\N{NO-BREAK SPACE}", written)
    written = written.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}")
    return msgspec.convert(tomllib.loads(written), Texts)
