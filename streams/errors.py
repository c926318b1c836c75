"""The way a worker ends on a fault: at once, as a kill would, for its state is made for that."""

import logging
import os
from typing import NoReturn

logger = logging.getLogger(__name__)

FAILED = 1


class WorkerError(Exception):
    """What a person can mend, not us; the message is one sentence that says what to do."""


class StartError(WorkerError):
    """A worker that can't start."""


def end_worker(error: BaseException) -> NoReturn:
    """Say why and end this process; it goes on from its last checkpoint when it is started again.

    Stopping in good order would run more of the code that just failed, and might commit. Where
    an error came from is for us, and in the log at level debug if a person can mend it.
    """
    is_shown = not isinstance(error, WorkerError) or logger.isEnabledFor(logging.DEBUG)
    where = error if is_shown else None
    logger.error("the worker ends, start it again: %s", error, exc_info=where)
    logging.shutdown()
    os._exit(FAILED)
