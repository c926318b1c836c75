"""An adapter that prints what would be done, and does nothing."""

import click

from schemas.records import Action
from schemas.units import iso
from streams.enforce.account import Instruction
from streams.enforce.adapters.contract import Adapter, spelled, strictest


class DryRun(Adapter):
    """Takes the place of an adapter: gets the same actions, and prints a line for each.

    Parameters
    ----------
    adapter
        The adapter that would carry them out.
    """

    announces = True

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter

    def handles(self, action: Action) -> bool:
        """Handle the same actions as the adapter."""
        return self._adapter.handles(action)

    def carry_out(self, instruction: Instruction) -> str:
        """Print what would be done, on standard output."""
        action = instruction.action
        what = f"{action.kind} {action.customer_id} {action.service}"
        why = f"({action.rule}, {action.clause}; {action.action_id})"
        if instruction.announces:
            click.echo(f"will {what} at {iso(action.effective_ms)} {why}")
            return "said"
        held = spelled(
            strictest(each for each in instruction.in_force if each.service == action.service)
        )
        click.echo(f"would {what} {why}, so that it is {held}")
        return "said"
