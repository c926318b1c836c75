"""The error that ends `fairuse enforce`."""

from streams.errors import FairuseError


class EnforceError(FairuseError):
    """Enforcement cannot go on; the message is one sentence that says what to do."""
