"""Writes amounts, times and clauses as is usual in a language."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Literal
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
Length = Literal["short", "long"]
"""How units are written, as Babel names it."""

GIGABYTE, MEGABYTE = 10**9, 10**6


class Wording:
    """Writes numbers and times in one language and one time zone.

    Parameters
    ----------
    texts
        The words of the language.
    zone
        The time zone.
    """

    def __init__(self, texts: Texts, zone: str) -> None:
        self.texts = texts
        self.zone = ZoneInfo(zone)
        self.locale = Locale.parse(texts.locale)

    # -- amounts --------------------------------------------------------------------------------

    def number(self, value: float) -> str:
        """Write a number with two decimals at most.

        Parameters
        ----------
        value
            The number.

        Returns
        -------
        The number in the language's digits.
        """
        return format_decimal(value, format=DIGITS, locale=self.locale)

    def amount(self, value: int, unit: str) -> str:
        """Write an observed amount or a limit.

        Parameters
        ----------
        value
            The amount; below zero it says that there is no limit.
        unit
            The finding's unit.

        Returns
        -------
        The amount with the name of its unit; plain counts have none.
        """
        if value < 0:
            return self.texts.no_limit
        of = UNITS[unit]
        if of.measure == "count":
            return self.number(value / of.per)
        return MEASURES[of.measure](self, value)

    def _duration(self, value: int) -> str:
        """Milliseconds as hours and minutes, rounded up to a minute."""
        hours, minutes = divmod(-(-value // MINUTE_MS), 60)
        # Babel has no long name of hours in Dutch.
        length: Length = "short" if self.locale.language == "nl" else "long"
        parts = [self._unit(hours, "duration-hour", length)] if hours else []
        if minutes or not hours:
            parts.append(self._unit(minutes, "duration-minute", "long"))
        return " ".join(parts)

    def seconds(self, value: int) -> str:
        """Write a duration.

        Parameters
        ----------
        value
            The duration, s.

        Returns
        -------
        Hours and minutes, rounded up to a minute.
        """
        return self._duration(value * 1000)

    def _bytes(self, value: int) -> str:
        """Bytes as gigabytes, or as megabytes below a tenth of a gigabyte."""
        if value >= GIGABYTE // 10 or value == 0:
            return self._unit(value / GIGABYTE, "digital-gigabyte", "short")
        return self._unit(value / MEGABYTE, "digital-megabyte", "short")

    def _kilobytes(self, value: int) -> str:
        """Thousands of bytes as gigabytes or megabytes."""
        return self._bytes(value * 1000)

    def percent(self, value: int) -> str:
        """Write a share in percent.

        Parameters
        ----------
        value
            The share, per mille.

        Returns
        -------
        The share with a percent sign.
        """
        return format_percent(value / 1000, locale=self.locale, decimal_quantization=False)

    def rate(self, kbps: int) -> str:
        """Write a speed.

        Parameters
        ----------
        kbps
            The speed, kbit/s.

        Returns
        -------
        The speed with its unit.
        """
        return f"{self.number(kbps)}\N{NO-BREAK SPACE}kbit/s"

    def _unit(self, value: float, unit: str, length: Length) -> str:
        return format_unit(value, unit, length=length, format=DIGITS, locale=self.locale)

    # -- times ----------------------------------------------------------------------------------

    def _local(self, time_ms: int) -> datetime:
        """An instant as local time."""
        return datetime.fromtimestamp(time_ms / 1000, UTC).astimezone(self.zone)

    def _day(self, when: date) -> str:
        """A date with its day of the week."""
        return format_date(when, format="full", locale=self.locale)

    def moment(self, time_ms: int) -> str:
        """Write an instant.

        Parameters
        ----------
        time_ms
            The instant, ms.

        Returns
        -------
        Its local date and time of day.
        """
        when = self._local(time_ms)
        return self.texts.moment.format(date=self._day(when), time=self._time(when))

    def _time(self, when: datetime) -> str:
        """A time of day, to the minute."""
        return format_time(when, format="short", locale=self.locale)

    def window(self, window: Window) -> str:
        """Write the time that a finding is about.

        Parameters
        ----------
        window
            The window.

        Returns
        -------
        Its local dates, with times of day where they matter.
        """
        start = self._local(window.start_ms)
        if window.end_ms is None:
            return self.texts.since.format(start=self.moment(window.start_ms))
        if window.kind == "day":
            return self._day(start)
        if window.kind == "month":
            return format_skeleton("yMMMM", start, locale=self.locale)
        if window.kind == "week":
            last = self._local(window.end_ms) - timedelta(days=1)
            return self.texts.through.format(start=self._day(start), end=self._day(last))
        end = self._local(window.end_ms)
        if start.date() == end.date():
            times = {"start": self._time(start), "end": self._time(end)}
            return self.texts.within.format(date=self._day(start), **times)
        span = {"start": self.moment(window.start_ms), "end": self.moment(window.end_ms)}
        return self.texts.span.format(**span)

    def step(self, start_ms: int, step: str) -> str:
        """Write the short name of a bar of a chart.

        Parameters
        ----------
        start_ms
            Start of the hour, day, week or month, ms.
        step
            "hour", "day", "week" or "month".

        Returns
        -------
        A time of day, a month, or a date.
        """
        start = self._local(start_ms)
        if step == "hour":
            return self._time(start)
        if step == "month":
            return format_skeleton("yMMM", start, locale=self.locale)
        return format_skeleton("MMMEd", start, locale=self.locale)

    # -- clauses --------------------------------------------------------------------------------

    def clauses(self, cited: str) -> str:
        """Write the documents and clauses that an action cites.

        Parameters
        ----------
        cited
            Their short names, with semicolons between them.

        Returns
        -------
        Their full names.
        """
        return "; ".join(self._clause(one.strip()) for one in cited.split(";"))

    def _clause(self, cited: str) -> str:
        document, _, clause = cited.partition(" ")
        named = self.texts.documents.get(document)
        return named.format(clause=clause).removesuffix(", ") if named else cited


MEASURES: dict[Measure, Callable[[Wording, int], str]] = {
    "duration": Wording._duration,
    "bytes": Wording._bytes,
    "kilobytes": Wording._kilobytes,
    "percent": Wording.percent,
}
"""How amounts are written that are no plain numbers."""
