"""Units of observed amounts, and how people read them."""

from dataclasses import dataclass
from typing import Literal

from schemas.units import EURO, GB, HOUR_MS

Measure = Literal["count", "duration", "bytes", "kilobytes", "percent"]
"""How the page of an action writes an amount: "bytes" as GB or MB, "duration" as hours and minutes,
"percent" from a value per mille, "count" as a number of `per`."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit that findings carry.

    Parameters
    ----------
    name
        The unit as a finding says it.
    seen
        What "We saw ..." goes on with in an action's reason; `{observed}` and `{limit}` stand for
        the amounts.
    symbol
        What follows a number in a table; the name where it is empty.
    per, digits
        An amount is divided by `per`, and written with so many decimals; 1 writes it as it is.
    measure
        How the page of an action writes it.

    Examples
    --------
    >>> BYTES.number(16_875_000_000), BYTES.short(16_875_000_000), MESSAGES.short(1_200)
    ('16.88', '16.88 GB', '1200 messages')
    """

    name: str
    seen: str
    symbol: str = ""
    per: int = 1
    digits: int = 0
    measure: Measure = "count"

    def number(self, value: int) -> str:
        """An amount without its unit."""
        return str(value) if self.per == 1 else f"{value / self.per:,.{self.digits}f}"

    def short(self, value: int) -> str:
        """An amount and its symbol."""
        return f"{self.number(value)} {self.symbol or self.name}"


MESSAGES = Unit("messages", "{observed} messages sent where {limit} are allowed")
CALL_TIME = Unit(
    "ms",
    "{observed} hours of calls where {limit} are allowed",
    symbol="h",
    per=HOUR_MS,
    digits=1,
    measure="duration",
)
BYTES = Unit(
    "bytes",
    "{observed} GB where the limit is {limit} GB",
    symbol="GB",
    per=GB,
    digits=2,
    measure="bytes",
)
RECIPIENTS = Unit(
    "recipients", "messages to {observed} recipients at a time where {limit} are allowed"
)
PORTS = Unit("ports", "connection attempts to {observed} ports of one computer within minutes")
CHARGES = Unit(
    "microeur",
    "charges of {observed} euro before tax where your limit is {limit} euro",
    symbol="euro",
    per=EURO,
    digits=2,
)
DEVICES = Unit("devices", "use on {observed} different devices")
