"""The columns that rules read of an event, by name, and how each is made.

Every field of an event is a column under its own name: whole numbers as int64 (`ABSENT` where not
given); texts as 64-bit hashes (zero where not given) and, for evidence, as strings under
`<name>_text`; flags as bool. Derived columns stand beside them, such as `is_sent`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from ipaddress import ip_address
from operator import attrgetter
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.events import USAGE_KINDS
from schemas.hashing import hash_strings
from schemas.units import Hashes, Ints, Mask, Texts, object_column

ABSENT = -1
"""Stands for a number that an event does not give."""

TEXT = "_text"
SYN, RST, PSH, ACK, FIN = 0x02, 0x04, 0x08, 0x10, 0x01
TCP = 6
MAIL_PORTS = (25, 465, 587)
"""TCP ports of mail servers: SMTP, SMTP over TLS and submission."""


class Source(Protocol):
    """Events of one kind, from which columns are made; each method gives one of shape (n,)."""

    def ints(self, name: str, absent: int) -> Ints:
        """A whole number of each event."""
        ...

    def texts(self, name: str) -> Texts:
        """A text of each event, None where not given."""
        ...

    def equals(self, name: str, value: str | bool) -> Mask:
        """Whether each event has this value; a field that is not given has its default."""
        ...


class Fields(Mapping[str, NDArray]):
    """Columns of events of one kind, each made when it is first read.

    A column is made for all events; what `take` returns shares it and picks its own rows.
    """

    def __init__(
        self,
        source: Source | None,
        make: Mapping[str, Callable[["Fields"], NDArray]],
        rows: Ints | None = None,
        made: dict[str, NDArray] | None = None,
    ) -> None:
        self._source = source
        self._make = make
        self._rows = rows
        self._made: dict[str, NDArray] = {} if made is None else made
        self._taken: dict[str, NDArray] = {}

    @classmethod
    def of(cls, columns: Mapping[str, NDArray]) -> "Fields":
        """Fields with these columns, and no others."""
        return cls(None, dict.fromkeys(columns, _unmade), made=dict(columns))

    @property
    def source(self) -> Source:
        """The events that columns are made from."""
        assert self._source is not None, "columns of `Fields.of` are never made"
        return self._source

    def __getitem__(self, name: str) -> NDArray:
        if self._rows is None:
            return self._whole(name)
        column = self._taken.get(name)
        if column is None:
            column = self._taken[name] = self._whole(name)[self._rows]
        return column

    def __iter__(self) -> Iterator[str]:
        return iter(self._make)

    def __len__(self) -> int:
        return len(self._make)

    def take(self, rows: Ints) -> "Fields":
        """The given rows, in the given order."""
        rows = rows if self._rows is None else self._rows[rows]
        return Fields(self._source, self._make, rows, self._made)

    def _whole(self, name: str) -> NDArray:
        column = self._made.get(name)
        if column is None:
            is_whole = self._rows is None
            whole = self if is_whole else Fields(self._source, self._make, None, self._made)
            column = self._made[name] = self._make[name](whole)
        return column


def _unmade(fields: Fields) -> NDArray:
    raise KeyError("no such column")


class Structs:
    """Decoded events, as a `Source` of columns."""

    def __init__(self, events: Sequence[Any]) -> None:
        self._events = events

    def ints(self, name: str, absent: int) -> Ints:
        """A whole number of each event."""
        values = map(attrgetter(name), self._events)
        given = [absent if value is None else value for value in values]
        return np.fromiter(given, np.int64, len(given))

    def texts(self, name: str) -> Texts:
        """A text of each event, None where not given."""
        return object_column(list(map(attrgetter(name), self._events)))

    def equals(self, name: str, value: str | bool) -> Mask:
        """Whether each event has this value; a field that is not given has its default."""
        same = [found == value for found in map(attrgetter(name), self._events)]
        return np.fromiter(same, bool, len(same))


def hashed(texts: Texts) -> Hashes:
    """Hash of each text, zero for None, shape (n,)."""
    given = texts != np.array(None)
    if given.all():
        return hash_strings(texts)
    hashes = np.zeros(len(texts), np.uint64)
    hashes[given] = hash_strings(texts[given])
    return hashes


# -- how each column is made --------------------------------------------------------------------


def _number(name: str, fields: Fields) -> NDArray:
    return fields.source.ints(name, ABSENT)


def _text(name: str, fields: Fields) -> NDArray:
    return fields.source.texts(name)


def _hash(name: str, fields: Fields) -> NDArray:
    return hashed(fields[name + TEXT])


def _flag(name: str, fields: Fields) -> NDArray:
    return fields.source.equals(name, True)


def _plain(structure: type) -> dict[str, Callable[[Fields], NDArray]]:
    """A column for each field that is a number, a text or a flag."""
    make: dict[str, Callable[[Fields], NDArray]] = {}
    info = msgspec.inspect.type_info(structure)
    assert isinstance(info, msgspec.inspect.StructType)
    for field in info.fields:
        options = getattr(field.type, "types", (field.type,))
        if any(isinstance(option, msgspec.inspect.IntType) for option in options):
            make[field.name] = partial(_number, field.name)
        elif any(isinstance(option, msgspec.inspect.StrType) for option in options):
            make[field.name] = partial(_hash, field.name)
            make[field.name + TEXT] = partial(_text, field.name)
        elif any(isinstance(option, msgspec.inspect.BoolType) for option in options):
            make[field.name] = partial(_flag, field.name)
    return make


def _is(name: str, value: str) -> Callable[[Fields], NDArray]:
    return lambda fields: fields.source.equals(name, value)


def _is_abroad(fields: Fields) -> NDArray:
    return fields["visited_plmn"] != 0


def _is_first_segment(fields: Fields) -> NDArray:
    """A message counts once, as its first segment."""
    return (fields["segment_number"] == ABSENT) | (fields["segment_number"] == 1)


def _is_first_part(fields: Fields) -> NDArray:
    """A call counts once, as its first interim record."""
    return (fields["partial_sequence"] == ABSENT) | (fields["partial_sequence"] == 1)


def _is_sent(fields: Fields) -> NDArray:
    return fields["is_originated"] & fields["is_first_segment"]


def _is_received(fields: Fields) -> NDArray:
    return ~fields["is_originated"] & fields["is_first_segment"]


def _is_sent_sms(fields: Fields) -> NDArray:
    return fields["is_sent"] & ~fields["is_mms"]


def _bytes(fields: Fields) -> NDArray:
    return fields["bytes_uplink"] + fields["bytes_downlink"]


def _sampling(fields: Fields) -> NDArray:
    """How many packets each sampled packet stands for."""
    return np.maximum(fields["sampling_interval"], 1)


def _is_failed(fields: Fields) -> NDArray:
    """Refused or never answered, by the state of the flow; without one, by its TCP flags."""
    source = fields.source
    refused = source.equals("state", "rejected") | source.equals("state", "unanswered")
    stated = refused | fields["is_established"]
    return refused | (~stated & failed_by_flags(fields["protocol"], fields["tcp_flags"]))


def failed_by_flags(protocol: NDArray, flags: NDArray) -> NDArray:
    """Whether TCP flags (ABSENT if not known) show a connection that carried no data.

    It was opened (SYN), but no ACK came, or neither PSH nor FIN did.
    """
    opened = (protocol == TCP) & (flags != ABSENT) & ((flags & SYN) != 0)
    return opened & (((flags & ACK) == 0) | ((flags & (PSH | FIN)) == 0))


def _is_answered(fields: Fields) -> NDArray:
    """Known to have been answered; without state and TCP flags it is neither this nor failed."""
    is_known = fields["is_established"] | (fields["tcp_flags"] != ABSENT)
    return is_known & ~fields["is_failed"]


def _is_to_group(fields: Fields) -> NDArray:
    """Sent to a multicast or broadcast address; False for flows that did not fail, to save time."""
    to_group = np.zeros(len(fields["is_failed"]), bool)
    failed = np.flatnonzero(fields["is_failed"])
    addresses = fields["destination_address" + TEXT][failed]
    to_group[failed] = [is_group_address(address) for address in addresses]
    return to_group


@lru_cache(maxsize=65_536)
def is_group_address(address: str) -> bool:
    """Whether an address stands for many hosts: multicast, or broadcast (of a /24 at least)."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return parsed.is_multicast or (parsed.version == 4 and int(parsed) & 0xFF == 0xFF)


_DERIVED: dict[str, dict[str, Callable[[Fields], NDArray]]] = {
    "sms": {
        "is_originated": _is("direction", "mo"),
        "is_mms": _is("service", "mms"),
        "is_first_segment": _is_first_segment,
        "is_sent": _is_sent,
        "is_received": _is_received,
        "is_sent_sms": _is_sent_sms,
    },
    "voice": {"is_originated": _is("direction", "mo"), "is_first_part": _is_first_part},
    "data": {"bytes": _bytes},
    "flow": {
        "is_outbound": _is("direction", "outbound"),
        "is_established": _is("state", "established"),
        "is_rejected": _is("state", "rejected"),
        "is_failed": _is_failed,
        "is_answered": _is_answered,
        "is_to_group": _is_to_group,
        "sampling": _sampling,
    },
    "storage": {},
    "stream": {},
}

FIELDS = {
    kind: {**_plain(structure), "is_abroad": _is_abroad, **_DERIVED[kind]}
    for kind, structure in USAGE_KINDS.items()
}
"""How each column is made, by kind of event and name."""
