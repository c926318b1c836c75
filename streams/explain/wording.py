"""Amounts, times and clauses in a language's manner."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_skeleton, format_time
from babel.numbers import format_decimal, format_percent
from babel.units import format_unit

from detectors.rules.registry import UNITS
from schemas.amounts import Measure
from schemas.records import Window
from schemas.units import MINUTE_MS
from streams.explain.texts import Texts

DIGITS = "#,##0.##"

GIGABYTE, MEGABYTE = 10**9, 10**6


class Wording:
    """Puts numbers and times into words of one language and one time zone."""

    def __init__(self, texts: Texts, zone: str) -> None:
        self.texts = texts
        self.zone = ZoneInfo(zone)
        self.locale = Locale.parse(texts.locale)

    # -- amounts --------------------------------------------------------------------------------

    def number(self, value: float) -> str:
        """A number with two decimals at most."""
        return format_decimal(value, format=DIGITS, locale=self.locale)

    def amount(self, value: int, unit: str) -> str:
        """An observed amount or a limit, with its measure; below zero there is no limit."""
        if value < 0:
            return self.texts.no_limit
        of = UNITS[unit]
        if of.measure == "count":
            return self.number(value / of.per)
        return MEASURES[of.measure](self, value)

    def duration(self, value: int) -> str:
        """Milliseconds as hours and minutes, of which a begun one is a whole one."""
        hours, minutes = divmod(-(-value // MINUTE_MS), 60)
        # Babel has no long name of hours in Dutch.
        length = "short" if self.locale.language == "nl" else "long"
        parts = [self._unit(hours, "duration-hour", length)] if hours else []
        if minutes or not hours:
            parts.append(self._unit(minutes, "duration-minute", "long"))
        return " ".join(parts)

    def seconds(self, value: int) -> str:
        """The same of seconds."""
        return self.duration(value * 1000)

    def bytes(self, value: int) -> str:
        """Bytes as gigabytes or, if there are few, as megabytes."""
        if value >= GIGABYTE // 10 or value == 0:
            return self._unit(value / GIGABYTE, "digital-gigabyte", "short")
        return self._unit(value / MEGABYTE, "digital-megabyte", "short")

    def kilobytes(self, value: int) -> str:
        """The same of thousands of bytes."""
        return self.bytes(value * 1000)

    def percent(self, value: int) -> str:
        """A share that is told per mille."""
        return format_percent(value / 1000, locale=self.locale, decimal_quantization=False)

    def points(self, value: int) -> str:
        """A score per mille, of 100 points."""
        return self.number(value / 10)

    def thousandths(self, value: int) -> str:
        """What is told per mille of one."""
        return self.number(value / 1000)

    def rate(self, kbps: int) -> str:
        """A speed."""
        return f"{self.number(kbps)}\N{NO-BREAK SPACE}kbit/s"

    def _unit(self, value: float, unit: str, length: str) -> str:
        return format_unit(value, unit, length=length, format=DIGITS, locale=self.locale)

    # -- times ----------------------------------------------------------------------------------

    def local(self, time_ms: int) -> datetime:
        """An instant in the zone."""
        return datetime.fromtimestamp(time_ms / 1000, UTC).astimezone(self.zone)

    def day(self, when: date) -> str:
        """A date with its day of the week."""
        return format_date(when, format="full", locale=self.locale)

    def moment(self, time_ms: int) -> str:
        """A date and time of day."""
        when = self.local(time_ms)
        return self.texts.moment.format(date=self.day(when), time=self.time(when))

    def time(self, when: datetime) -> str:
        """A time of day, to the minute."""
        return format_time(when, format="short", locale=self.locale)

    def window(self, window: Window) -> str:
        """The time a finding is about."""
        start = self.local(window.start_ms)
        if window.end_ms is None:
            return self.texts.since.format(start=self.moment(window.start_ms))
        if window.kind == "day":
            return self.day(start)
        if window.kind == "month":
            return format_skeleton("yMMMM", start, locale=self.locale)
        if window.kind == "week":
            last = self.local(window.end_ms) - timedelta(days=1)
            return self.texts.through.format(start=self.day(start), end=self.day(last))
        end = self.local(window.end_ms)
        if start.date() == end.date():
            times = {"start": self.time(start), "end": self.time(end)}
            return self.texts.within.format(date=self.day(start), **times)
        span = {"start": self.moment(window.start_ms), "end": self.moment(window.end_ms)}
        return self.texts.span.format(**span)

    def step(self, start_ms: int, step: str) -> str:
        """A short name of an hour, day, week or month that a chart shows."""
        start = self.local(start_ms)
        if step == "hour":
            return self.time(start)
        if step == "month":
            return format_skeleton("yMMM", start, locale=self.locale)
        return format_skeleton("MMMEd", start, locale=self.locale)

    # -- clauses --------------------------------------------------------------------------------

    def clauses(self, cited: str) -> str:
        """The documents and clauses that an action cites, by their full names."""
        return "; ".join(self._clause(one.strip()) for one in cited.split(";"))

    def _clause(self, cited: str) -> str:
        document, _, clause = cited.partition(" ")
        named = self.texts.documents.get(document)
        return named.format(clause=clause).removesuffix(", ") if named else cited


MEASURES: dict[Measure, Callable[[Wording, int], str]] = {
    "duration": Wording.duration,
    "bytes": Wording.bytes,
    "kilobytes": Wording.kilobytes,
    "percent": Wording.percent,
}
"""How amounts are written that are no plain numbers."""
