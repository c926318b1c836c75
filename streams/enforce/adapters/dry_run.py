"""Says what would be done, and does nothing."""

import click

from schemas.records import Action
from schemas.units import iso
from streams.enforce.account import Order
from streams.enforce.adapters.contract import Adapter, spelled, strictest


class DryRun:
    """Stands in for an adapter: hears of the same actions, and prints a line for each.

    Parameters
    ----------
    adapter
        The one that would do it.
    """

    announces = True

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter

    def handles(self, action: Action) -> bool:
        """What the adapter handles."""
        return self._adapter.handles(action)

    def carry_out(self, order: Order) -> str:
        """Print what it would be, on standard output."""
        action = order.action
        what = f"{action.kind} {action.customer_id} {action.service}"
        why = f"({action.rule}, {action.clause}; {action.action_id})"
        if order.announces:
            click.echo(f"will {what} at {iso(action.effective_ms)} {why}")
            return "said"
        held = spelled(strictest(each for each in order.in_force if each.service == action.service))
        click.echo(f"would {what} {why}, so that it is {held}")
        return "said"
