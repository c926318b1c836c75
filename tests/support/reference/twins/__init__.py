"""The slow twins of rules, one file for each: loops, dicts and datetimes, none of the rules' code.

A file has a class `Twin` with `name` and `reads` (kinds of event), and

- `__init__(policy, plans)`: `plans.of(customer_id)` is what a customer has (`Plans` of naive.py),
- `accepts(event, watermark_ms)`: whether the event is not too late for the rule,
- `feed(event, watermark_ms)`: the `naive.Found` that an accepted, new event leads to,
- `take_mean(average)` if the rule compares cohorts, and `end(last_ms)` if it closes periods,

and what to try it on: `LOW`, the parameters with limits that a handful of events crosses, and
`CASES`, by name: changes to those parameters, and a hypothesis strategy of histories (lists of
events and means, see tests/support/strategies/drawing.py). `EDGES`, if any, are single histories by
what is hard about them, as pairs of changes and history.
"""

from importlib import import_module
from pkgutil import iter_modules

MODULES = {info.name: import_module(f"{__name__}.{info.name}") for info in iter_modules(__path__)}
"""The modules of this folder, by rule."""
