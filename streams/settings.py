"""Settings: a flag overrides a `FAIRUSE_*` environment variable, and that `fairuse.toml`."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from streams.errors import WRONG_USAGE, FairuseError

Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]
PREFIX = "FAIRUSE_"


class SettingsError(FairuseError):
    """The settings cannot be used."""

    exit_code = WRONG_USAGE


class SharedSettings(Struct, kw_only=True, frozen=True):
    """What workers and enforcement both need.

    Each setting is `--like-this` on the command line, `FAIRUSE_LIKE_THIS` in the environment and
    `like_this` in `fairuse.toml`.
    """

    broker: str = "127.0.0.1:9092"
    """Kafka bootstrap addresses, host:port, comma-separated."""
    app_id: str = "fairuse"
    """Consumer group of the workers, and first part of the names of the changelog topics and of
    enforcement's group."""
    host: str = "127.0.0.1"
    """Address the HTTP server listens on; other workers redirect to a worker by it."""
    port: Annotated[int, Meta(ge=0, le=65_535)] = 6066
    """Port of /metrics, and of a worker's /customers; processes on one machine need different
    ones."""
    idempotence: bool = True
    """Whether producers are idempotent; off only for the embedded broker."""
    data_dir: str = "fairuse-data"
    """Folder of the local snapshots, and of enforcement's state."""


class WorkerSettings(SharedSettings, kw_only=True, frozen=True):
    """Settings of a worker, and of the commands that make its topics or run its rules."""

    policy: str | None = None
    """Policy file; the default policy if absent."""
    partitions: Positive = 8
    """Partitions of the topics that `fairuse topics` creates, and of a replay."""
    replication: Positive = 1
    """Copies of each partition of the topics that `fairuse topics` creates; 3 in production."""
    instance_id: str | None = None
    """Static membership (KIP-345): a worker that restarts under the same id gets its partitions
    back at once."""
    standbys: Annotated[int, Meta(ge=0)] = 1
    """Copies of each partition's state that other workers keep up to date."""
    assume_enforcement: bool = False
    """Whether each action counts as carried out at once; only for demos without enforcement."""
    session_timeout_seconds: Seconds = 20
    """A worker that sends no heartbeat for this long loses its partitions."""
    rebalance_timeout_seconds: Seconds = 60
    """How long a worker may take to checkpoint and give up its partitions."""
    checkpoint_seconds: Seconds = 2
    """Time between checkpoints; longer after one that took long to write."""
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
    """A partition without events for this long closes its periods by the wall clock."""
    snapshot_minutes: Positive = 10
    """Time between local snapshots."""


class EnforcementSettings(SharedSettings, kw_only=True, frozen=True):
    """Settings of `fairuse enforce`."""

    adapter: Literal["webhook", "radius", "policy-counter"] | None = None
    """What carries actions out."""
    kinds: str | None = None
    """Kinds of action to carry out, comma-separated; all that the adapter can if absent."""
    enforce_attempts_max: Positive = 8
    """Attempts at an action, at growing intervals, before it has failed."""
    enforce_timeout_seconds: Seconds = 5
    """How long an adapter waits for an answer."""
    enforce_waiting_max: Positive = 1_000_000
    """No new action is read while more than this number wait for their time or another attempt."""
    enforce_customers_max: Positive = 1_000_000
    """Customers remembered although nothing waits or is in force, to recognise repeated actions."""
    webhook_url: str | None = None
    """Where the webhook adapter posts actions."""
    webhook_secret: str | None = None
    """Signing key of the webhook: base64 after `whsec_`. No flag: other users could read it."""
    radius_host: str | None = None
    """RADIUS server of the radius adapter."""
    radius_port: Annotated[int, Meta(ge=1, le=65_535)] = 3799
    """Its port for CoA-Request and Disconnect-Request."""
    radius_secret: str | None = None
    """Secret shared with the RADIUS server. No flag: other users could read it."""
    policy_counter_url: str | None = None
    """Notification URI of the policy control function that the policy-counter adapter tells."""


S = TypeVar("S", WorkerSettings, EnforcementSettings)


def load_settings(
    kind: type[S],
    flags: Mapping[str, Any],
    environment: Mapping[str, str] = os.environ,
    file: Path = Path("fairuse.toml"),
) -> S:
    """Read settings; flags override the environment, and that the file.

    Parameters
    ----------
    kind
        Whose settings; the file and the environment may hold those of the other kind, too.
    flags
        Values by name; None where a flag was not given.
    environment
        Environment variables.
    file
        The TOML file; it need not exist.

    Returns
    -------
    The settings, with defaults where nothing was given.

    Raises
    ------
    SettingsError
        The file cannot be read, or a name or a value in it is unknown or out of range.
    """
    merged = _read(file)
    known = _names(kind)
    for name in known:
        if (text := environment.get(PREFIX + name.upper())) is not None:
            merged[name] = text
    merged |= {name: value for name, value in flags.items() if value is not None}
    every_kind = _names(WorkerSettings) | _names(EnforcementSettings)
    if unknown := sorted(merged.keys() - every_kind):
        raise _unusable(f"there is none of the name `{unknown[0]}`")
    try:
        own = {name: value for name, value in merged.items() if name in known}
        return msgspec.convert(own, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _unusable(error) from None


def _read(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise SettingsError(f"{file} can't be read ({error}): mend or remove it") from None


def _names(kind: type[SharedSettings]) -> set[str]:
    return {field.name for field in msgspec.structs.fields(kind)}


def _unusable(why: object) -> SettingsError:
    return SettingsError(f"a setting can't be used ({why}): see --help and fairuse.toml")
