"""How the tests themselves are built."""

import ast

import pytest

from tests.support.paths import ROOT


def faults_of(path, source):
    """Imports of test modules."""
    for node in ast.walk(ast.parse(source)):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or "", *(f"{node.module}.{each.name}" for each in node.names)]
        for module in modules:
            if module.startswith("tests.") and module.split(".")[-1].startswith("test_"):
                yield (
                    f"{path}:{node.lineno}: {module} is a test module: "
                    "move what is shared to tests/support"
                )


def test_no_test_module_is_imported():
    """What several tests need stands in tests/support."""
    found = []
    for file in sorted((ROOT / "tests").rglob("*.py")):
        path = file.relative_to(ROOT).as_posix()
        found += faults_of(path, file.read_text(encoding="utf-8"))
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [
        "from tests.detectors.rules.test_rules import Run",
        "from tests.detectors.rules import test_rules",
        "import tests.detectors.rules.test_rules",
    ],
)
def test_an_import_of_a_test_module_is_found_however_it_is_written(source):
    expected = (
        "tests/x.py:1: tests.detectors.rules.test_rules is a test module: "
        "move what is shared to tests/support"
    )
    assert list(faults_of("tests/x.py", source)) == [expected]
