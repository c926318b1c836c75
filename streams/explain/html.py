"""Writes the page as one HTML file that needs no other file."""

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
    """Write a page as HTML. All values are escaped: they show as text, never as markup.

    Parameters
    ----------
    page
        The page.

    Returns
    -------
    The HTML.
    """
    return environment.get_template("page.html").render(page=page)
