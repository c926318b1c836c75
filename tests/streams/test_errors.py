"""Errors that a person can mend have one base class, by which the command line reports them."""

import importlib
import inspect
import pkgutil

import pytest

import streams
from streams.enforce.adapters.contract import AdapterError
from streams.enforce.enforcer import BadRecord
from streams.errors import FAILED, WRONG_USAGE, FairuseError
from streams.explain.spans import InputGone

HANDLED = (AdapterError, BadRecord, InputGone)
"""Never end a process: an action is tried again or has failed, a record is skipped, a page says
what is missing."""

MODULES = [module.name for module in pkgutil.walk_packages(streams.__path__, "streams.")]
ERRORS = sorted(
    (
        found
        for name in MODULES
        for found in vars(importlib.import_module(name)).values()
        if inspect.isclass(found) and issubclass(found, Exception) and found.__module__ == name
    ),
    key=lambda error: error.__name__,
)


@pytest.mark.parametrize("error", [each for each in ERRORS if not issubclass(each, HANDLED)])
def test_an_error_of_streams_is_told_in_a_sentence(error):
    assert issubclass(error, FairuseError)
    assert error.exit_code in (FAILED, WRONG_USAGE)


def test_there_are_errors_to_look_at():
    assert len(ERRORS) > 10
