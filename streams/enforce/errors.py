"""The error that ends `fairuse enforce`."""


class EnforceError(Exception):
    """Enforcement cannot go on; the message is one sentence that says what to do."""
