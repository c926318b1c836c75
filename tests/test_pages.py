"""Pages name only files, headings and options that exist.

A fault is printed as `path:line: what is wrong`.
"""

import re
from itertools import product

import click
import pytest

from streams.cli.commands import main
from tests.support.paths import ROOT

PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("deploy/**/*.*"),
        *ROOT.glob("tests/**/*.md"),
    ]
)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
NAMED = re.compile(
    r"(?<![\w/.-])(?:schemas|detectors|streams|tests|deploy|docs)/[\w./{},*-]*[\w/}*]"
)
PLACEHOLDER = re.compile(r"\b(?:ID|NAME)\b")
CODE = re.compile(r"`([^`]+)`")
COMMAND = re.compile(r"\bfairuse ([a-z]+(?: (?:check|publish)\b)?)([^`#|\n]*)")
OPTION = re.compile(r"(?<!\S)--[a-z][a-z-]*")


def expanded(name):
    """The names that `{a,b}` in a name stands for."""
    parts = re.split(r"\{([^}]*)\}", name)
    choices = [part.split(",") if odd % 2 else [part] for odd, part in enumerate(parts)]
    return ["".join(chosen) for chosen in product(*choices)]


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def faults_of(page, text):
    """What is wrong with a page's links, files and commands."""
    is_fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        where = f"{page.relative_to(ROOT)}:{number}"
        for target, anchor in LINK.findall(line):
            linked = (page.parent / target).resolve() if target else page
            if not linked.exists():
                yield f"{where}: the link {target} leads nowhere"
            elif anchor and anchor not in anchors(linked):
                yield f"{where}: {linked.name} has no heading for #{anchor}"
        for name in NAMED.findall(line):
            if not PLACEHOLDER.search(name):
                yield from (
                    f"{where}: there is no {each}"
                    for each in expanded(name)
                    if not any(ROOT.glob(each.rstrip("/")))
                )
        is_fenced ^= line.startswith("```")
        code = line if is_fenced or line.startswith("    ") else "\n".join(CODE.findall(line))
        for command, rest in COMMAND.findall(code):
            yield from (f"{where}: {fault}" for fault in faults_of_command(command, rest))


def faults_of_command(name, rest):
    """What is wrong with a command that a page tells to run."""
    found: click.Command | None = main
    for part in name.split():
        found = found.commands.get(part) if isinstance(found, click.Group) else None
    if found is None:
        yield f"there is no `fairuse {name}`"
        return
    known = {option for parameter in found.params for option in parameter.opts}
    for option in OPTION.findall(rest):
        if option not in known:
            yield f"`fairuse {name}` has no {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_only_what_exists(page):
    faults = list(faults_of(page, page.read_text(encoding="utf-8")))
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("[the ladder](LADDERS.md)", "the link LADDERS.md leads nowhere"),
        ("[limits](LADDER.md#bounds)", "LADDER.md has no heading for #bounds"),
        ("`detectors/ladder/cases.py`", "there is no detectors/ladder/cases.py"),
        ("`streams/explain/texts/{en,de}.toml`", "there is no streams/explain/texts/de.toml"),
        ("    fairuse judge --all", "there is no `fairuse judge`"),
        ("`fairuse policy publish FILE --form TIME`", "`fairuse policy publish` has no --form"),
    ],
)
def test_a_name_that_does_not_exist_is_found(line, fault):
    page = ROOT / "docs/PAGE.md"
    assert list(faults_of(page, "\n" + line)) == [f"docs/PAGE.md:2: {fault}"]


@pytest.mark.parametrize(
    "line",
    [
        "[limits](LADDER.md#limits) and [a site](https://example.org/no/file.md)",
        "`detectors/ladder/`, `streams/explain/texts/{en,nl}.toml`, `tests/scenarios/ID/`",
        "    fairuse policy publish FILE --from TIME --share 10",
        "`fairuse decide reject --rule voice_daily` drops them; `--nothing` is no option of it",
    ],
)
def test_a_name_that_exists_is_left_alone(line):
    assert not list(faults_of(ROOT / "docs/PAGE.md", line))
