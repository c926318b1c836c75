"""A rule is finished when all that belongs to it is there; the message says what is missing."""

import json
import re
import tomllib
from typing import get_args

import pytest

from detectors.policies import rule_page
from detectors.policies.editions import default_policy_path, load_policy
from detectors.rules.contract import Section
from detectors.rules.registry import RULES, UNITS
from schemas.records import Service
from streams.explain.texts import LANGUAGES, texts_in
from streams.synthetic.parts import PARTS
from tests.support.nearness import SHARES
from tests.support.paths import ROOT, SCENARIOS
from tests.support.reference import naive
from tests.support.strategies.drawing import only

RULE_PAGE = ROOT / "docs" / "RULES.md"
every_rule = pytest.mark.parametrize("rule", RULES)


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def folders_of(rule):
    """Scenario folders of a rule, each with what it expects."""
    return {
        path.parent: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((SCENARIOS / rule).glob("*/expected.json"))
    }


def fires(expected, rule):
    return any(finding["rule"] == rule for finding in expected["findings"])


@every_rule
def test_the_rule_is_the_file_of_its_name(rule):
    expected = f"detectors.rules.{rule}"
    assert expected == RULES[rule].__module__, f"move {rule} to detectors/rules/{rule}.py"
    assert rule == RULES[rule].name, f"detectors/rules/{rule}.py: its `name` has to be {rule!r}"


@every_rule
def test_the_rule_says_what_it_catches_and_what_it_misses(rule):
    """How late it is, too, and how many false alarms were counted."""
    said = " ".join((RULES[rule].__doc__ or "").split())
    told = ("What it catches:", "What it misses:", "Delay:", "False alarms:", "References")
    for promise in (*told, "generated customers"):
        assert promise in said, f"detectors/rules/{rule}.py: the class docstring lacks `{promise}`"


@every_rule
def test_the_rule_declares_what_others_need_of_it(rule):
    """Its own declaration, not that of the class it inherits from."""
    where = f"detectors/rules/{rule}.py"
    assert "declaration" in vars(RULES[rule]), f"{where}: give the class a `declaration`"
    declared = RULES[rule].declaration
    assert declared.section in get_args(Section), f"{where}: choose a section of {Section}"
    for cell in ("what", "limit", "misses"):
        assert getattr(declared, cell), f"{where}: `{cell}` of the declaration is empty"
    assert declared.services, f"{where}: name the `services` that the rule may restrict"
    assert set(declared.services) <= set(get_args(Service))
    assert declared.units, f"{where}: name the `units` of the rule's findings"


def test_a_unit_is_told_in_one_way():
    """Findings carry the name of a unit only, so two rules can't mean different things by it."""
    for rule in RULES.values():
        for unit in rule.declaration.units:
            other = UNITS[unit.name]
            assert other == unit, f"{rule.name} and another rule declare {unit.name!r} differently"


@every_rule
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_of_an_action_has_a_sentence_for_each_unit_of_the_rule(rule, language):
    expected = {unit.name for unit in RULES[rule].declaration.units}
    sentences = texts_in(language).seen.get(rule, {})
    assert expected == set(sentences), f"[seen.{rule}] of streams/explain/texts/{language}.toml"


@every_rule
def test_the_generated_operator_has_a_part_that_breaks_the_rule(rule):
    parts = [part for part in PARTS if part.name == rule and rule in part.must]
    assert len(parts) == 1, f"add an abuser of {rule} to streams/synthetic/parts/__init__.py"
    assert rule in SHARES, f"tests/support/nearness: count how near to {rule} each customer comes"


@every_rule
def test_the_default_policy_has_a_table_of_the_rule(rule):
    path = ROOT / "deploy/policy/default.toml"
    tables = tomllib.loads(path.read_text(encoding="utf-8"))["rules"]
    assert rule in tables, f"add [rules.{rule}] to {name_of(path)}"
    assert path == default_policy_path(), "the tests read the policy of the repository"


@every_rule
def test_the_rule_has_a_runbook(rule):
    page = ROOT / "deploy/runbooks" / f"{rule}.md"
    assert page.exists(), f"write {name_of(page)}: what it means, what to check, how to release"
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {rule}: "), f"{name_of(page)} begins with `# {rule}: ...`"
    for part in ("means", "check", "recompute", "release or exempt", "False alarms"):
        assert part in text, f"{name_of(page)} says nothing of `{part}`"


@every_rule
def test_the_runbook_names_only_commands_that_exist(rule):
    from click import Group

    from streams.cli.commands import main

    text = (ROOT / "deploy/runbooks" / f"{rule}.md").read_text(encoding="utf-8")
    for command in re.findall(r"fairuse ([a-z]+(?: [a-z]+)?)", text):
        first, *rest = command.split()
        assert first in main.commands, f"deploy/runbooks/{rule}.md: no `fairuse {first}`"
        group = main.commands[first]
        if isinstance(group, Group):
            assert rest, f"deploy/runbooks/{rule}.md: `fairuse {first}` wants a command"
            assert rest[0] in group.commands, f"deploy/runbooks/{rule}.md: no `fairuse {command}`"


@every_rule
def test_the_runbook_names_only_figures_that_are_measured(rule):
    from streams.metrics import Metrics

    measured = {
        sample.name for family in Metrics().registry.collect() for sample in family.samples
    } | {family.name for family in Metrics().registry.collect()}
    measured |= {f"{name}_total" for name in measured}
    text = (ROOT / "deploy/runbooks" / f"{rule}.md").read_text(encoding="utf-8")
    for figure in re.findall(r"fairuse_[a-z_]+", text):
        assert figure in measured, f"deploy/runbooks/{rule}.md: /metrics has no {figure}"


@every_rule
def test_one_scenario_fires_and_one_does_not(rule):
    folders = folders_of(rule)
    firing = [folder for folder, expected in folders.items() if fires(expected, rule)]
    quiet = [folder for folder, expected in folders.items() if not fires(expected, rule)]
    assert firing, f"add a folder to tests/scenarios/{rule}/ that leads to a finding of {rule}"
    assert quiet, f"add a folder to tests/scenarios/{rule}/ that leads to no finding of {rule}"


@every_rule
def test_one_scenario_runs_under_the_default_policy(rule):
    default = [folder for folder in folders_of(rule) if not (folder / "policy.toml").exists()]
    assert default, f"add a folder without policy.toml to tests/scenarios/{rule}/"


@every_rule
def test_the_rule_has_a_slow_twin(rule):
    policy = only(load_policy(), rule)
    assert rule in policy.rules
    try:
        (twin,) = naive.rules_of(policy, naive.Plans(policy, ()))
    except KeyError:
        pytest.fail(f"write the slow twin of {rule} in tests/support/reference/twins/{rule}.py")
    assert (rule, RULES[rule].reads) == (twin.name, twin.reads)


@every_rule
def test_the_page_of_rules_has_a_line_of_the_rule(rule):
    """With the clause, service and "regularly" of the default policy."""
    lines = RULE_PAGE.read_text(encoding="utf-8").splitlines()
    own = [line for line in lines if line.startswith("|") and f"`{rule}`" in line]
    where = name_of(RULE_PAGE)
    assert len(own) == 1, f"add a line for `{rule}` to the table of {where}"
    parameters = load_policy().rules[rule]
    cells = [cell.strip() for cell in own[0].strip("|").split("|")]
    assert parameters.clause in cells, f"{where}: {rule} cites {parameters.clause}"
    assert parameters.service in cells, f"{where}: {rule} is about {parameters.service}"
    needed = getattr(parameters, "regular_periods", None)
    if needed:
        regularly = f"{needed} of {parameters.regular_window} "
        assert any(cell.startswith(regularly) for cell in cells), f"{where}: {rule}, {regularly}"


def test_the_generated_tables_are_fresh(capsys):
    assert rule_page.main(["--check"]) == 0, capsys.readouterr().err


def test_a_stale_page_is_named_with_the_command_to_run(tmp_path, capsys):
    for path in rule_page.texts(load_policy()):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        page = (ROOT / path).read_text(encoding="utf-8")
        (tmp_path / path).write_text(page.replace("sms_daily", "sms_dayly"), encoding="utf-8")
    assert rule_page.main(["--check"], tmp_path) == 1
    told = capsys.readouterr().err
    for path in ("docs/RULES.md", "README.md"):
        assert f"{path} is stale: run `python -m detectors.policies.rule_page`\n" in told
    assert rule_page.main([], tmp_path) == 0
    assert rule_page.main(["--check"], tmp_path) == 0


def test_no_page_or_folder_is_left_of_a_rule_that_is_gone():
    pages = {page.stem for page in (ROOT / "deploy/runbooks").glob("*.md")}
    folders = {folder.name for folder in SCENARIOS.iterdir() if folder.is_dir()}
    assert pages <= set(RULES), "remove the runbook, or register the rule"
    assert folders <= set(RULES), "remove the scenarios, or register the rule"
