"""Settings: flags, then `FAIRUSE_*` environment variables, then `fairuse.toml`."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from streams.errors import WRONG_USAGE, FairuseError

Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]
PREFIX = "FAIRUSE_"


class SettingsError(FairuseError):
    """A setting that can't be used."""

    exit_code = WRONG_USAGE


class Settings(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Everything a worker or the enforcement side can be told, every limit included.

    Each is `--like-this` on the command line, `FAIRUSE_LIKE_THIS` in the environment and
    `like_this` in `fairuse.toml`.
    """

    broker: str = "127.0.0.1:9092"
    """Kafka bootstrap addresses, host:port, comma-separated."""
    app_id: str = "fairuse"
    """Consumer group, and first part of the changelog topics' names."""
    policy: str | None = None
    """Policy file; the default policy if absent."""
    partitions: Positive = 8
    """Partitions of the topics that `fairuse topics` creates, and of a replay."""
    replication: Positive = 1
    """Copies of each partition of the topics that `fairuse topics` creates; 3 in production."""
    host: str = "127.0.0.1"
    """Address the worker's HTTP server listens on, and by which other workers point to it."""
    port: Annotated[int, Meta(ge=0, le=65_535)] = 6066
    """Port of /metrics and /customers; differs for each worker of a machine."""
    data_dir: str = "fairuse-data"
    """Where local snapshots are kept."""
    instance_id: str | None = None
    """Static membership (KIP-345): a restart under the same id takes its partitions back at
    once."""
    standbys: Annotated[int, Meta(ge=0)] = 1
    """Warm copies of each partition's state on other workers."""
    idempotence: bool = True
    """Whether broker retries are told apart from new records; off only for the embedded broker."""
    assume_enforcement: bool = False
    """Whether each action counts as carried out at once; only for a demo, where nobody does it."""
    session_timeout_seconds: Seconds = 20
    """A worker that is silent for so long loses its partitions."""
    rebalance_timeout_seconds: Seconds = 60
    """How long a worker may take to checkpoint and let go of its partitions."""
    checkpoint_seconds: Seconds = 2
    """Time between checkpoints, but for those that take long to write."""
    checkpoint_events_max: Positive = 1_000_000
    """Events between checkpoints at most."""
    fetch_bytes_max: Positive = 1_048_576
    """Bytes of one partition fetched at once."""
    queued_batches_max: Positive = 16
    """Fetched batches that wait for an agent."""
    send_batch_bytes_max: Positive = 524_288
    """Bytes of one batch sent."""
    dedup_entries_max: Positive = 8_000_000
    """Event ids remembered for each partition and kind of event."""
    idle_close_minutes: Positive = 15
    """A partition that is silent for so long closes its periods by the clock."""
    snapshot_minutes: Positive = 10
    """Time between local snapshots."""
    adapter: Literal["webhook", "radius", "policy-counter"] | None = None
    """What `fairuse enforce` carries actions out with."""
    kinds: str | None = None
    """Kinds of action that `fairuse enforce` sees to, comma-separated; all its adapter can do if
    absent."""
    enforce_attempts_max: Positive = 8
    """How often an action is tried, at growing intervals, before it has failed."""
    enforce_timeout_seconds: Seconds = 5
    """How long an adapter waits for an answer."""
    enforce_waiting_max: Positive = 1_000_000
    """Actions that wait to take effect or to be tried again; above it none is taken in."""
    enforce_customers_max: Positive = 1_000_000
    """Customers remembered with nothing waiting and nothing in force, so that a repeated action is
    known."""
    webhook_url: str | None = None
    """Where the webhook adapter posts actions."""
    webhook_secret: str | None = None
    """What it signs them with: base64 after `whsec_`. Not a flag, for others see those."""
    radius_host: str | None = None
    """The RADIUS server that the radius adapter tells what holds for a customer."""
    radius_port: Annotated[int, Meta(ge=1, le=65_535)] = 3799
    """Its port for CoA-Request and Disconnect-Request."""
    radius_secret: str | None = None
    """The secret shared with it. Not a flag, for others see those."""
    policy_counter_url: str | None = None
    """Notification URI of the policy control function that the policy-counter adapter tells."""


def load_settings(
    flags: Mapping[str, Any],
    environment: Mapping[str, str] = os.environ,
    file: Path = Path("fairuse.toml"),
) -> Settings:
    """Settings from flags, environment and file, in that order of rank."""
    merged: dict[str, Any] = {}
    if file.exists():
        try:
            merged |= tomllib.loads(file.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise SettingsError(f"{file} can't be read ({error}): mend or remove it") from None
    known = {field.name for field in msgspec.structs.fields(Settings)}
    for name in known:
        if (text := environment.get(PREFIX + name.upper())) is not None:
            merged[name] = text
    merged |= {name: value for name, value in flags.items() if value is not None}
    try:
        return msgspec.convert(merged, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(
            f"a setting can't be used ({error}): see --help and fairuse.toml"
        ) from None
