"""The adapter that the settings ask for."""

from collections.abc import Callable
from typing import get_args

from schemas.records import Action, ActionKind
from streams.clock import Clock
from streams.enforce.account import Instruction
from streams.enforce.adapters.contract import Adapter
from streams.enforce.adapters.policy_counter import PolicyCounter
from streams.enforce.adapters.radius import Radius
from streams.enforce.adapters.webhook import Webhook, signing_key
from streams.settings import EnforcementSettings, SettingsError

KINDS = get_args(ActionKind)


class OnlyKinds(Adapter):
    """Restricts an adapter to some kinds of action.

    Parameters
    ----------
    adapter
        The adapter.
    kinds
        The kinds of action that it carries out.
    """

    def __init__(self, adapter: Adapter, kinds: frozenset[str]) -> None:
        self.announces = adapter.announces
        self._adapter = adapter
        self._kinds = kinds

    def handles(self, action: Action) -> bool:
        """Handle the adapter's actions of these kinds."""
        return action.kind in self._kinds and self._adapter.handles(action)

    def carry_out(self, instruction: Instruction) -> str:
        """Hand the instruction to the adapter."""
        return self._adapter.carry_out(instruction)


def adapter_of(settings: EnforcementSettings, clock: Clock) -> Adapter:
    """Make the adapter that the settings name.

    Parameters
    ----------
    settings
        Name of the adapter, and what it needs.
    clock
        The time.

    Returns
    -------
    The adapter, restricted to the kinds of action that the settings name, if they name any.

    Raises
    ------
    SettingsError
        The settings name no adapter, or an unknown kind of action, or lack what the adapter needs.
    """
    if settings.adapter is None:
        raise SettingsError(f"name an adapter: --adapter {' or '.join(MAKERS)}")
    adapter = MAKERS[settings.adapter](settings, clock)
    if settings.kinds is None:
        return adapter
    kinds = frozenset(kind.strip() for kind in settings.kinds.split(","))
    if unknown := sorted(kinds.difference(KINDS)):
        raise SettingsError(
            f"no such kind of action: {unknown[0]!r}, name some of {', '.join(KINDS)}"
        )
    return OnlyKinds(adapter, kinds)


def _webhook(settings: EnforcementSettings, clock: Clock) -> Adapter:
    url = _url(settings.webhook_url, "webhook_url")
    secret = _given(settings.webhook_secret, "webhook_secret")
    try:
        key = signing_key(secret)
    except ValueError as error:
        raise SettingsError(
            f"webhook_secret is no base64 after whsec_ ({error}): take the one of the receiver"
        ) from None
    return Webhook(url, key, settings.enforce_timeout_seconds, clock)


def _radius(settings: EnforcementSettings, clock: Clock) -> Adapter:
    host = _given(settings.radius_host, "radius_host")
    secret = _given(settings.radius_secret, "radius_secret")
    return Radius(host, settings.radius_port, secret, settings.enforce_timeout_seconds, clock)


def _policy_counter(settings: EnforcementSettings, clock: Clock) -> Adapter:
    url = _url(settings.policy_counter_url, "policy_counter_url")
    return PolicyCounter(url, settings.enforce_timeout_seconds)


MAKERS: dict[str, Callable[[EnforcementSettings, Clock], Adapter]] = {
    "webhook": _webhook,
    "radius": _radius,
    "policy-counter": _policy_counter,
}


def _given(value: str | None, name: str) -> str:
    if value is None:
        raise SettingsError(
            f"{name} is missing: set FAIRUSE_{name.upper()}, or {name} in fairuse.toml"
        )
    return value


def _url(value: str | None, name: str) -> str:
    url = _given(value, name)
    if not url.startswith(("https://", "http://")):
        raise SettingsError(f"{name} is no address: begin it with https:// or http://")
    return url
