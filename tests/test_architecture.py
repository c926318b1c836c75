"""Who may import whom, and no clock, chance or file in `schemas` and `detectors`.

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
LAYERS = {
    "detectors": (
        ("kernels",),
        ("periods",),
        ("state",),
        ("rules.contract",),
        ("rules.families",),
        ("rules",),
        ("rules.registry",),
        ("policies",),
        ("fold", "ladder"),
    ),
    "streams": (
        ("clock", "dead_letters", "errors"),
        ("metrics", "settings"),
        ("broker", "files", "synthetic"),
        ("checkpoints", "demo", "enforce", "replay"),
        ("analysis", "console", "explain", "worker"),
        ("app", "cli"),
        ("__main__",),
    ),
}
"""Rooms of each folder, in layers: a room may import itself and the rooms of earlier layers.

A module belongs to the room with the longest name that fits; each rule is a room of its own. The
fold and the ladder do not know each other: `streams` hands findings from one to the other.
"""
KERNELS, KERNELS_MAY_IMPORT = "detectors.kernels", "schemas.units"

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


def room_of(module):
    """Layer and room of a module, None for one that the plan does not name."""
    folder = module.split(".")[0]
    fitting = [
        (len(room), layer, f"{folder}.{room}")
        for layer, rooms in enumerate(LAYERS.get(folder, ()))
        for room in rooms
        if f"{module}.".startswith(f"{folder}.{room}.")
    ]
    if not fitting:
        return None
    _, layer, room = max(fitting)
    return layer, module if room == "detectors.rules" else room


def named_modules(node):
    """Modules that an import statement reads, each once; `from a import b` may name the module a.b.

    Only a folder can hold a module `b`, so for a file `a` this is `a` itself.
    """
    return {
        f"{module}.{name}" if name and (ROOT / module.replace(".", "/")).is_dir() else module
        for module, name in imported(node)
    }


def room_faults(path, tree):
    """Imports of a room that stands in the same layer or a later one."""
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    folder, own = module.split(".")[0], room_of(module)
    if own is None:
        if folder in LAYERS and module != folder:
            yield f"{path}:1: {module} is in no layer, give its room a place in LAYERS of this test"
        return
    layer, room = own
    for node in ast.walk(tree):
        for name in named_modules(node):
            top = name.split(".")[0]
            if room == KERNELS and top == "schemas" and name != KERNELS_MAY_IMPORT:
                yield (
                    f"{path}:{node.lineno}: {name} is banned here, kernels may import "
                    f"{KERNELS_MAY_IMPORT} only: pass columns in"
                )
            other = room_of(name) if top == folder else None
            if other is not None and other[1] != room and other[0] >= layer:
                yield (
                    f"{path}:{node.lineno}: {name} is banned here, {room} stands before or beside "
                    f"{other[1]}: move what both need to a layer before them, or pass it in"
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


def test_rooms_import_only_what_stands_before_them():
    """Kernels know no rule, no rule knows another, fold and ladder do not know each other."""
    found = faults(room_faults, "detectors", "streams")
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
            room_faults,
            "detectors/kernels/x.py",
            "import numpy\nfrom schemas.hashing import mix",
            "detectors/kernels/x.py:2: schemas.hashing is banned here, kernels may import "
            "schemas.units only: pass columns in",
        ),
        (
            room_faults,
            "detectors/periods/x.py",
            "from detectors.state.columns import Field",
            "detectors/periods/x.py:1: detectors.state.columns is banned here, detectors.periods "
            "stands before or beside detectors.state: move what both need to a layer before them, "
            "or pass it in",
        ),
        (
            room_faults,
            "detectors/rules/sms_monthly.py",
            "from detectors.rules import sms_daily",
            "detectors/rules/sms_monthly.py:1: detectors.rules.sms_daily is banned here, "
            "detectors.rules.sms_monthly stands before or beside detectors.rules.sms_daily: "
            "move what both need to a layer before them, or pass it in",
        ),
        (
            room_faults,
            "detectors/rules/families/x.py",
            "import detectors.rules.registry",
            "detectors/rules/families/x.py:1: detectors.rules.registry is banned here, "
            "detectors.rules.families stands before or beside detectors.rules.registry: "
            "move what both need to a layer before them, or pass it in",
        ),
        (
            room_faults,
            "detectors/ladder/x.py",
            "from detectors.fold.findings import to_finding",
            "detectors/ladder/x.py:1: detectors.fold.findings is banned here, detectors.ladder "
            "stands before or beside detectors.fold: move what both need to a layer before them, "
            "or pass it in",
        ),
        (
            room_faults,
            "detectors/fold/x.py",
            "from detectors.ladder.ladder import Ladder",
            "detectors/fold/x.py:1: detectors.ladder.ladder is banned here, detectors.fold "
            "stands before or beside detectors.ladder: move what both need to a layer before them, "
            "or pass it in",
        ),
        (
            room_faults,
            "streams/replay/x.py",
            "from streams.enforce import store",
            "streams/replay/x.py:1: streams.enforce.store is banned here, streams.replay stands "
            "before or beside streams.enforce: move what both need to a layer before them, or "
            "pass it in",
        ),
        (
            room_faults,
            "streams/attic/x.py",
            "",
            "streams/attic/x.py:1: streams.attic.x is in no layer, give its room a place in "
            "LAYERS of this test",
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
        (
            room_faults,
            "detectors/kernels/x.py",
            "from detectors.kernels.running import group_starts\nfrom schemas.units import Ints",
        ),
        (
            room_faults,
            "detectors/rules/sms_daily.py",
            "from detectors.rules.families.messages import Messages\nimport detectors.periods.ring",
        ),
        (room_faults, "detectors/rules/registry.py", "from detectors.rules import sms_daily"),
        (room_faults, "streams/cli/x.py", "from streams import clock\nimport detectors.fold"),
        (purity_faults, "detectors/policies/editions.py", "path.read_text()"),
        (purity_faults, "detectors/x.py", "from datetime import datetime\ndatetime(2026, 1, 1)"),
        (length_faults, "streams/x.py", "def short():\n" + "    pass\n" * 68),
    ],
)
def test_what_is_allowed_is_no_fault(check, path, source):
    """The one clock, durations, arrows that point down."""
    assert list(check(path, ast.parse(source))) == []
