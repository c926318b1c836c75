"""The public functions of `streams/` document their parameters, results and errors (numpydoc).

A fault is printed as `path:line: what is missing, what to write`. Exempt are, each for a reason:

- names with a leading underscore, and names that Python gives a meaning (`__enter__`): not called
  by other modules by that name;
- properties: they read like an attribute, and their first line says what it holds;
- methods that override one of a base class: the base class documents them;
- commands of the command line, which are objects of `click`: their docstring is the text of
  `--help`;
- constructors that `dataclass` or `msgspec.Struct` write: each field is documented where it stands;
- functions of the synthetic operator's tables: `Play`, `Schedule`, `Need` and `Habit` say once what
  all functions of such a table take and return.
"""

import ast
import importlib
import inspect
import pkgutil
import re
from textwrap import dedent

import pytest

import streams
from tests.support.paths import ROOT

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(streams.__path__, "streams.")
    if not module.ispkg
)
TABLES = ({"scene"}, {"rng", "calendar"}, {"calendar", "customers"}, {"rng", "now"})
"""What the functions of the synthetic operator's tables take."""

UNDERLINE = re.compile(r"-{3,}")


def documented(module):
    """Every public function, method and written constructor that a module defines.

    Yields the function, its name, and the docstring that has to describe it.
    """
    for name, found in vars(module).items():
        if name.startswith("_") or getattr(found, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(found):
            yield from documented_of_class(name, found)
        elif inspect.isfunction(found) and not is_of_table(found):
            yield inspect.unwrap(found), name, found.__doc__


def is_of_table(function):
    taken = {name.removeprefix("_") for name in inspect.signature(function).parameters}
    return function.__module__.startswith("streams.synthetic.") and taken in TABLES


def documented_of_class(name, owner):
    written = vars(owner).get("__init__")
    if inspect.isfunction(written) and written.__code__.co_filename == inspect.getfile(owner):
        yield written, name, owner.__doc__
    for method_name, found in vars(owner).items():
        method = getattr(found, "__func__", found)
        is_override = any(method_name in vars(base) for base in owner.__mro__[1:])
        if not method_name.startswith("_") and inspect.isfunction(method) and not is_override:
            yield inspect.unwrap(method), f"{name}.{method_name}", method.__doc__


def sections(docstring):
    """The lines of each section of a docstring, by its heading."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    found, heading = {}, None
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if UNDERLINE.fullmatch(following):
            heading = line
            found[heading] = []
        elif heading and not UNDERLINE.fullmatch(line):
            found[heading].append(line)
    return found


def entries(lines):
    """Names that a section describes: `name`, `name : type` or `one, other`."""
    heads = [line.split(" : ")[0] for line in lines if line and not line.startswith(" ")]
    return {name.strip().lstrip("*") for head in heads for name in head.split(",")}


def docstring_faults(function, docstring):
    """What the docstring of a function lacks, one remedy each."""
    found = sections(docstring)
    signature = inspect.signature(function)
    taken = set(signature.parameters) - {"self", "cls"}
    told = entries(found.get("Parameters", []))
    for name in sorted(taken - told):
        yield f"{name} is missing, describe it under Parameters"
    for name in sorted(told - taken):
        yield f"{name} is no parameter, remove it from Parameters"
    returned = signature.return_annotation
    returns_value = returned not in (None, "None", inspect.Signature.empty)
    is_answer = returns_value and getattr(returned, "__name__", returned) not in ("NoReturn",)
    if is_answer and function.__name__ != "__init__" and not {"Returns", "Yields"} & set(found):
        yield "what it returns is missing, describe it under Returns"
    for name in sorted(raised(function) - entries(found.get("Raises", []))):
        yield f"{name} is raised, say when under Raises"


def raised(function):
    """Names of the errors that the body of a function raises itself, those it raises again too."""
    tree = ast.parse(dedent(inspect.getsource(function))).body[0]
    names = set()
    waiting = list(ast.iter_child_nodes(tree))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue  # what it raises, it raises when it is called
        if isinstance(node, ast.Raise) and node.exc is not None:
            cause = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            name = getattr(cause, "attr", getattr(cause, "id", ""))
            names |= {name} if name[:1].isupper() else set()
        waiting += ast.iter_child_nodes(node)
    return names - {"NotImplementedError"}


@pytest.mark.parametrize("name", MODULES)
def test_public_functions_document_parameters_results_and_errors(name):
    """One can call a function without reading it."""
    module = importlib.import_module(name)
    path = module.__file__.removeprefix(f"{ROOT}/")
    found = [
        f"{path}:{function.__code__.co_firstlineno}: {called}: {fault}"
        for function, called, docstring in documented(module)
        for fault in docstring_faults(function, docstring)
    ]
    assert not found, "\n" + "\n".join(found)


def documents_nothing(number: int) -> int:
    """Half of it."""
    if number < 0:
        raise ValueError(number)
    return number // 2


def documents_too_much(number: int) -> None:
    """Halve it.

    Parameters
    ----------
    number, other
        What is halved.
    """


def documents_all(number: int) -> int:
    """Half of it.

    Parameters
    ----------
    number
        What is halved, 0 or more.

    Returns
    -------
    The half, rounded down.

    Raises
    ------
    ValueError
        The number is negative.
    """
    if number < 0:
        raise ValueError(number)
    return number // 2


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (
            documents_nothing,
            [
                "number is missing, describe it under Parameters",
                "what it returns is missing, describe it under Returns",
                "ValueError is raised, say when under Raises",
            ],
        ),
        (documents_too_much, ["other is no parameter, remove it from Parameters"]),
        (documents_all, []),
    ],
)
def test_what_is_missing_is_named(function, expected):
    assert expected == list(docstring_faults(function, function.__doc__))
