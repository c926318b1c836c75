"""Python's garbage collector, which runs rarely here.

Replays use this too, so that it stands apart from the modules that import Faust.
"""

import gc


def calm_collector() -> None:
    """Let the garbage collector look for reference cycles a hundred times less often.

    Fetched records are many, short-lived and free of cycles; looking for cycles among them would
    take a fifth of the time.
    """
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
