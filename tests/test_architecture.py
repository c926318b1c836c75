"""What each folder may know: `streams -> detectors -> schemas`, and no clock, chance or file below.

A fault is printed as `path:line: what is wrong, what to do instead`.
"""

import ast

import pytest

from tests.support.paths import ROOT

FOLDERS = ("schemas", "detectors", "streams")
PURE = ("schemas", "detectors")
FUNCTION_LINES_MAX = 70

MAY_IMPORT = {
    "schemas": {"schemas"},
    "detectors": {"schemas", "detectors"},
    "streams": {"schemas", "detectors", "streams"},
}
EVENT_TIME = "take event time from the batch"
CHANCE = "derive it from the event"
DRIVER = "let streams/ do it and hand over the result"

BANNED_MODULES = {
    "time": EVENT_TIME,
    "random": CHANCE,
    "secrets": CHANCE,
    "uuid": CHANCE,
} | dict.fromkeys(
    (
        *("asyncio", "logging", "multiprocessing", "os", "shutil", "socket", "subprocess"),
        *("tempfile", "threading", "urllib", "aiohttp", "aiokafka", "click", "faust", "kafka"),
        *("mode", "prometheus_client", "pyarrow", "requests", "rich"),
    ),
    DRIVER,
)
BANNED_CALLS = dict.fromkeys(("open", "print", "input", "exec", "eval", "breakpoint"), DRIVER)
BANNED_ATTRIBUTES = (
    dict.fromkeys(("now", "utcnow", "today"), EVENT_TIME)
    | dict.fromkeys(("random", "default_rng"), CHANCE)
    | dict.fromkeys(
        (
            *("read_text", "read_bytes", "write_text", "write_bytes", "unlink", "mkdir", "glob"),
            *("tofile", "fromfile", "memmap", "loadtxt", "savetxt"),
        ),
        DRIVER,
    )
)
EXEMPT = {
    "detectors/policies/editions.py": {"read_text"},  # reads the one document that a driver names
    "detectors/policies/rule_page.py": {"read_text", "write_text"},  # a tool
    "schemas/documents.py": {"read_text", "write_text", "unlink", "mkdir", "glob"},  # a tool
}

CLOCK = "streams/clock.py"
CLOCK_CALLS = {("time", "time"), ("time", "time_ns"), ("time", "localtime"), ("time", "gmtime")}
CLOCK_ATTRIBUTES = {"now", "utcnow", "today"}
CLOCK_REMEDY = f"ask the clock of {CLOCK}"


def sources(*folders):
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def imported(node):
    """Modules that an import statement names, and what it takes from them."""
    if isinstance(node, ast.Import):
        return [(alias.name, None) for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [(node.module or "", alias.name) for alias in node.names]
    return []


def import_faults(path, tree):
    """Arrows that point the wrong way."""
    folder = path.split("/")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield f"{path}:{node.lineno}: a relative import is banned here, name the folder"
        for name in {module.split(".")[0] for module, _ in imported(node)}:
            if name in FOLDERS and name not in MAY_IMPORT[folder]:
                allowed = " and ".join(sorted(MAY_IMPORT[folder]))
                yield (
                    f"{path}:{node.lineno}: {name} is banned here, "
                    f"{folder} may import {allowed} only: move the code or pass the value in"
                )


def purity_faults(path, tree):
    """Clocks, chance, files and the outside, where everything follows from the input."""
    exempt = EXEMPT.get(path, set())
    for node in ast.walk(tree):
        for name in {module.split(".")[0] for module, _ in imported(node)}:
            if name in BANNED_MODULES:
                yield f"{path}:{node.lineno}: {name} is banned here, {BANNED_MODULES[name]}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            name = node.func.id
            if name in BANNED_CALLS:
                yield f"{path}:{node.lineno}: {name} is banned here, {BANNED_CALLS[name]}"
        if isinstance(node, ast.Attribute) and node.attr in set(BANNED_ATTRIBUTES) - exempt:
            remedy = BANNED_ATTRIBUTES[node.attr]
            yield f"{path}:{node.lineno}: {node.attr} is banned here, {remedy}"


def clock_faults(path, tree):
    """The wall clock, anywhere but in its one place."""
    if path == CLOCK:
        return
    for node in ast.walk(tree):
        used = None
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            used = next((n for m, n in imported(node) if (m, n) in CLOCK_CALLS), None)
        elif isinstance(node, ast.Attribute):
            base = node.value.id if isinstance(node.value, ast.Name) else None
            if (base, node.attr) in CLOCK_CALLS or (
                node.attr in CLOCK_ATTRIBUTES and base in ("datetime", "date")
            ):
                used = f"{base}.{node.attr}"
        if used:
            yield f"{path}:{node.lineno}: {used} is banned here, {CLOCK_REMEDY}"


def length_faults(path, tree):
    """Functions too long to be read at a glance."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            if lines >= FUNCTION_LINES_MAX:
                yield (
                    f"{path}:{node.lineno}: {node.name} has {lines} lines, "
                    f"keep it under {FUNCTION_LINES_MAX}: give a part of it a name"
                )


def faults(check, *folders):
    found = []
    for file in sources(*folders):
        path = file.relative_to(ROOT).as_posix()
        found += check(path, ast.parse(file.read_text(encoding="utf-8")))
    return found


def test_imports_point_one_way():
    """streams knows detectors knows schemas, never the other way round."""
    found = faults(import_faults, *FOLDERS)
    assert not found, "\n" + "\n".join(found)


def test_detectors_and_schemas_know_no_clock_no_chance_and_no_files():
    """The same input gives the same findings: nothing else may have a say."""
    found = faults(purity_faults, *PURE)
    assert not found, "\n" + "\n".join(found)


def test_the_wall_clock_is_asked_in_one_place():
    """So that replay can replace it; how long something takes may be measured anywhere."""
    found = faults(clock_faults, "streams")
    assert not found, "\n" + "\n".join(found)


def test_functions_stay_short():
    """Under 70 lines, wherever they are."""
    found = faults(length_faults, *FOLDERS)
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("check", "path", "source", "expected"),
    [
        (
            purity_faults,
            "detectors/x.py",
            "import numpy\n\nimport time",
            "detectors/x.py:3: time is banned here, take event time from the batch",
        ),
        (
            purity_faults,
            "detectors/x.py",
            "from time import monotonic",
            "detectors/x.py:1: time is banned here, take event time from the batch",
        ),
        (
            purity_faults,
            "schemas/x.py",
            "when = datetime.now(UTC)",
            "schemas/x.py:1: now is banned here, take event time from the batch",
        ),
        (
            purity_faults,
            "detectors/x.py",
            "draw = np.random.default_rng()",
            "detectors/x.py:1: default_rng is banned here, derive it from the event",
        ),
        (
            purity_faults,
            "schemas/x.py",
            "with open(name) as file:\n    pass",
            "schemas/x.py:1: open is banned here, let streams/ do it and hand over the result",
        ),
        (
            purity_faults,
            "schemas/x.py",
            "Path(name).read_text()",
            "schemas/x.py:1: read_text is banned here, let streams/ do it and hand over the result",
        ),
        (
            import_faults,
            "detectors/x.py",
            "from streams.clock import wall_clock",
            "detectors/x.py:1: streams is banned here, detectors may import detectors and "
            "schemas only: move the code or pass the value in",
        ),
        (
            import_faults,
            "schemas/x.py",
            "import detectors.rules.contract",
            "schemas/x.py:1: detectors is banned here, schemas may import schemas only: "
            "move the code or pass the value in",
        ),
        (
            import_faults,
            "schemas/x.py",
            "from ..streams import clock",
            "schemas/x.py:1: a relative import is banned here, name the folder",
        ),
        (
            clock_faults,
            "streams/x.py",
            "now_s = time.time()",
            "streams/x.py:1: time.time is banned here, ask the clock of streams/clock.py",
        ),
        (
            clock_faults,
            "streams/x.py",
            "from time import time_ns",
            "streams/x.py:1: time_ns is banned here, ask the clock of streams/clock.py",
        ),
        (
            clock_faults,
            "streams/x.py",
            "datetime.now(UTC)",
            "streams/x.py:1: datetime.now is banned here, ask the clock of streams/clock.py",
        ),
        (
            length_faults,
            "streams/x.py",
            "def long():\n" + "    pass\n" * 69,
            "streams/x.py:1: long has 70 lines, keep it under 70: give a part of it a name",
        ),
    ],
)
def test_a_fault_is_named_with_its_place_and_remedy(check, path, source, expected):
    """A check that finds nothing in a faulty file would prove nothing."""
    assert expected in list(check(path, ast.parse(source)))


@pytest.mark.parametrize(
    ("check", "path", "source"),
    [
        (clock_faults, CLOCK, "import time\ntime.time_ns()"),
        (clock_faults, "streams/x.py", "from time import monotonic, perf_counter\nmonotonic()"),
        (
            import_faults,
            "streams/x.py",
            "from detectors.rules.contract import Rule\nimport schemas.events",
        ),
        (purity_faults, "detectors/policies/editions.py", "path.read_text()"),
        (purity_faults, "detectors/x.py", "from datetime import datetime\ndatetime(2026, 1, 1)"),
        (length_faults, "streams/x.py", "def short():\n" + "    pass\n" * 68),
    ],
)
def test_what_is_allowed_is_no_fault(check, path, source):
    """The one clock, durations, arrows that point down."""
    assert list(check(path, ast.parse(source))) == []
