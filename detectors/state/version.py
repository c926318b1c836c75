"""The version of the stored layout, and the error for stored state that cannot be read."""

from typing import TypeVar

import msgspec
from msgspec import Struct

STATE_VERSION = 2
"""Changes whenever stored rows, logs or memories are laid out differently."""


class LayoutError(Exception):
    """Stored state has another layout than the code or the policy asks for."""


def require_version(found: int | None, what: str) -> None:
    """Refuse stored state that another version of the layout wrote.

    Parameters
    ----------
    found : int or None
        The version that was stored; None if the stored state names none.
    what : str
        What was read, for the message, such as "the stored state of partition 3".

    Raises
    ------
    LayoutError
        If `found` is not `STATE_VERSION`.

    Examples
    --------
    >>> require_version(1, "the stored state of partition 3")
    Traceback (most recent call last):
        ...
    detectors.state.version.LayoutError: the stored state of partition 3 has layout version 1, \
this release reads version 2: start under a new app id, or run the release that wrote it
    """
    if found == STATE_VERSION:
        return
    stored = "no layout version" if found is None else f"layout version {found}"
    raise LayoutError(
        f"{what} has {stored}, this release reads version {STATE_VERSION}: "
        "start under a new app id, or run the release that wrote it"
    )


class _Versioned(Struct):
    """Stored state of any version; the fields that follow the version are not read."""

    version: int | None = None


Memory = TypeVar("Memory", bound=Struct)


def read_memory(stored: bytes, memory: type[Memory], what: str) -> Memory:
    """Decode what a state remembers, in MessagePack, after its version was checked.

    Parameters
    ----------
    stored : bytes
        A struct with a field `version`.
    memory : type
        The struct of this version.
    what : str
        What was read, for the message.

    Raises
    ------
    LayoutError
        If its version is not `STATE_VERSION`.
    """
    require_version(msgspec.msgpack.decode(stored, type=_Versioned).version, what)
    return msgspec.msgpack.decode(stored, type=memory)
