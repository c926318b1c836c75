"""Errors that a person can mend, and how a worker ends on any error: at once, as if killed.

A worker's state survives a kill, so that ending at once is safe.
"""

import logging
import os
from typing import ClassVar, NoReturn

from detectors.state.version import LayoutError
from schemas.policy import PolicyError

logger = logging.getLogger(__name__)

DONE, FAILED, WRONG_USAGE = 0, 1, 2
"""Exit codes of `fairuse`."""


class FairuseError(Exception):
    """An error that a person can mend; the message is one sentence that says what to do."""

    exit_code: ClassVar[int] = FAILED


class StartError(FairuseError):
    """A worker cannot start."""


MENDABLE = (FairuseError, LayoutError, PolicyError)
"""Errors whose message says what to do; all others are our own bugs and show a traceback."""


def end_worker(error: BaseException) -> NoReturn:
    """Log why, and end this process; a restart goes on from the last checkpoint.

    A regular stop would run more of the code that just failed, and might commit. The traceback of
    an error that a person can mend is logged at level debug only.

    Parameters
    ----------
    error
        What went wrong.
    """
    shows_traceback = not isinstance(error, MENDABLE) or logger.isEnabledFor(logging.DEBUG)
    where = error if shows_traceback else None
    logger.error("the worker ends, start it again: %s", error, exc_info=where)
    logging.shutdown()
    os._exit(FAILED)
