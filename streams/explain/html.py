"""The page as one HTML file that needs nothing else."""

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from streams.explain.page import Page

environment = Environment(
    loader=PackageLoader("streams.explain", "templates"),
    autoescape=select_autoescape(default=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def html_of(page: Page) -> str:
    """A page as HTML; whatever it shows is text, never markup."""
    return environment.get_template("page.html").render(page=page)
