"""Python's own search for cycles, made rare."""

import gc


def calm_collector() -> None:
    """Let Python look for cycles a hundred times less often.

    Fetched records are many, short-lived and free of cycles; looking for some among them takes a
    fifth of the time.
    """
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
