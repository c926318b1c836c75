"""Times as the outside reads them."""

from datetime import UTC, datetime


def iso(time_ms: int) -> str:
    """A time in RFC 3339, UTC.

    Examples
    --------
    >>> iso(1_717_401_600_000)
    '2024-06-03T08:00:00Z'
    """
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
