"""Usage events, as they arrive on the `usage.*` topics.

Names follow 3GPP TS 32.298 (call records) and IPFIX (flows), in snake_case, unit last. Unknown
extra fields are ignored; a missing or ill-typed required field makes the record a dead letter.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from schemas.units import DAY_MS, MIB

TIME_MS_MIN = 946_684_800_000
"""2000-01-01T00:00:00Z: nothing that is still metered is older."""

TIME_MS_MAX = 4_102_444_800_000
"""2100-01-01T00:00:00Z: past it a time is a mistake whatever the clock says."""

AMOUNT_MAX = 2**53
"""Largest amount any JSON reader keeps exact."""

CALL_MS_MAX = 7 * DAY_MS
"""One call record may last seven days; networks cut longer calls into partial records."""

RECORD_BYTES_MAX = MIB
"""A larger record is refused unread."""

Id = Annotated[str, Meta(min_length=1, max_length=64)]
Text = Annotated[str, Meta(max_length=256)]
TimeMs = Annotated[int, Meta(ge=TIME_MS_MIN, le=TIME_MS_MAX)]
Amount = Annotated[int, Meta(ge=0, le=AMOUNT_MAX)]
Port = Annotated[int, Meta(ge=0, le=65_535)]


class Event(Struct, kw_only=True, frozen=True, gc=False, omit_defaults=True, tag_field="type"):
    """What every usage event carries.

    `event_id` is unique per `source`: the same id seen again is the same event and counts once.
    `event_time_ms` is the start of the use. `visited_plmn` is absent in the home network.
    `charge_microeur` is what the use costs the customer before tax, in millionths of a euro.
    `corrects` names the event that this one replaces; with `void` it takes it back.
    """

    event_id: Id
    customer_id: Id
    event_time_ms: TimeMs
    source: Text | None = None
    served_imsi: Text | None = None
    served_imei: Text | None = None
    served_msisdn: Text | None = None
    visited_plmn: Text | None = None
    cell_id: Text | None = None
    charge_microeur: Amount | None = None
    corrects: Id | None = None
    void: bool = False


class Sms(Event, kw_only=True, frozen=True, gc=False, omit_defaults=True, tag="sms"):
    """A text message; the same text has the same `message_reference`, whoever receives it."""

    recipient: Text
    direction: Literal["mo", "mt"] = "mo"
    service: Literal["sms", "mms"] = "sms"
    message_reference: Text | None = None
    segment_number: Amount | None = None
    segment_total: Amount | None = None


class Voice(Event, kw_only=True, frozen=True, gc=False, omit_defaults=True, tag="voice"):
    """A call, or an interim record of one: each carries its own part of the duration."""

    other_party: Text
    duration_ms: Annotated[int, Meta(ge=0, le=CALL_MS_MAX)]
    direction: Literal["mo", "mt"] = "mo"
    call_reference: Text | None = None
    partial_sequence: Amount | None = None
    final: bool | None = None


class Data(Event, kw_only=True, frozen=True, gc=False, omit_defaults=True, tag="data"):
    """A mobile data session or a part of one."""

    bytes_uplink: Amount
    bytes_downlink: Amount
    session_id: Text | None = None
    duration_ms: Amount | None = None
    apn: Text | None = None
    device_fingerprint: Text | None = None


class Flow(Event, kw_only=True, frozen=True, gc=False, omit_defaults=True, tag="flow"):
    """An IP flow (IPFIX, RFC 7011); `protocol` is the IANA number, `tcp_flags` are cumulative."""

    source_address: Text
    destination_address: Text
    protocol: Annotated[int, Meta(ge=0, le=255)]
    source_port: Port | None = None
    destination_port: Port | None = None
    packets: Amount | None = None
    bytes: Amount | None = None
    tcp_flags: Annotated[int, Meta(ge=0, le=0xFFFF)] | None = None
    duration_ms: Amount | None = None
    state: Literal["established", "rejected", "unanswered"] | None = None
    direction: Literal["outbound", "inbound"] = "outbound"
    sampling_interval: Annotated[int, Meta(ge=1, le=AMOUNT_MAX)] | None = None


STORAGE_QUANTITIES = (
    "used_bytes",
    "largest_file_bytes",
    "contacts",
    "linked_items",
    "shared_items",
    "written_bytes",
)


class Storage(Event, kw_only=True, frozen=True, gc=False, omit_defaults=True, tag="storage"):
    """A snapshot of what a customer stores; it carries at least one quantity."""

    used_bytes: Amount | None = None
    largest_file_bytes: Amount | None = None
    contacts: Amount | None = None
    linked_items: Amount | None = None
    shared_items: Amount | None = None
    written_bytes: Amount | None = None
    capacity_bytes: Amount | None = None

    def __post_init__(self) -> None:
        """Refuse a snapshot of nothing."""
        if self.used_bytes is None and all(
            getattr(self, name) is None for name in STORAGE_QUANTITIES
        ):
            raise ValueError("Object missing required field `used_bytes`, or another quantity")


class Stream(Event, kw_only=True, frozen=True, gc=False, omit_defaults=True, tag="stream"):
    """TV viewing on one device."""

    device_id: Text
    duration_ms: Amount
    address_id: Text | None = None
    at_home: bool | None = None


UsageEvent = Sms | Voice | Data | Flow | Storage | Stream

USAGE_KINDS: dict[str, type[Event]] = {
    "sms": Sms,
    "voice": Voice,
    "data": Data,
    "flow": Flow,
    "storage": Storage,
    "stream": Stream,
}
"""The tag of each usage event; its topic is `usage.<tag>`."""
