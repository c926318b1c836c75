"""Prints the page on a terminal."""

from collections.abc import Iterable, Iterator

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from streams.explain.page import Chart, Page, Row, Section

BAR_WIDTH = 40
WIDTH_MAX = 100
SIGNS = {"agrees": ("✓", "green"), "differs": ("✗", "red"), "gone": ("?", "yellow")}


def show(page: Page, console: Console) -> None:
    """Print a page.

    Parameters
    ----------
    page
        The page.
    console
        The terminal.
    """
    sign, colour = SIGNS[page.verdict]
    findings = [piece for section in page.sections for piece in _section(section)]
    whole = Group(
        Text(page.title, style="bold"),
        *findings,
        Text(),
        _table(page.rows),
        Text(),
        Text(f"{sign} {page.verdict_text}", style=colour),
        _table([row for section in page.sections for row in section.computed], "dim"),
        *(Text(remark, style="dim") for remark in page.remarks),
    )
    console.print(whole, width=min(console.width, WIDTH_MAX))


def _section(section: Section) -> Iterator[Table | Text]:
    yield Text(section.sentence)
    yield Text()
    yield _table(section.rows)
    if section.chart is not None and section.chart.bars:
        yield Text()
        yield Text(f"{section.chart.caption} ({section.chart.limit_text})", style="bold")
        yield _chart(section.chart)


def _table(rows: Iterable[Row], style: str = "") -> Table:
    table = Table.grid(padding=(0, 2), expand=False)
    table.add_column(style="dim", max_width=26)
    table.add_column(style=style, overflow="fold")
    for row in rows:
        table.add_row(Text(row.label), Text(row.text))
    return table


def _chart(chart: Chart) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(no_wrap=True)
    table.add_column(justify="right")
    for bar in chart.bars:
        style = "bold red" if bar.is_above else "cyan"
        table.add_row(Text(bar.label), _line(bar.percent, chart.limit_percent, style), bar.text)
    return table


def _line(percent: float, limit_percent: float | None, style: str) -> Text:
    """A bar, with a mark where the limit is."""
    length = max(1, round(BAR_WIDTH * percent / 100)) if percent else 0
    line = Text("█" * length, style=style) + Text(" " * (BAR_WIDTH + 1 - length))
    if limit_percent is not None:
        at = round(BAR_WIDTH * limit_percent / 100)
        mark = Text("│", style="bold" if at >= length else f"reverse {style}")
        line = line[:at] + mark + line[at + 1 :]
    return line
