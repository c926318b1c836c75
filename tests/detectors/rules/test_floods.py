"""Floods and scans with more customers and addresses than there is memory for."""

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors.policies.editions import load_policy
from detectors.state import cells
from schemas.events import Flow
from tests.support.harness.runs import Run, by_rule, moved, state_of
from tests.support.strategies.drawing import (
    CUSTOMERS,
    MIDNIGHTS_MS,
    MINUTE_MS,
    choices,
    only,
    with_parameters,
)
from tests.support.strategies.histories import LOW

PROPERTY = settings(
    deadline=None,
    print_blob=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
PAIRS = st.lists(
    choices(
        minute=(0, 0, 1, 1, 2, 3, 4, 8),
        customer_id=CUSTOMERS,
        address=tuple(range(5)),
        sampling_interval=(61, 100, 190),
        direction=("outbound", "outbound", "inbound"),
    ),
    max_size=60,
)


ADDRESS = {"outbound": "destination_address", "inbound": "source_address"}


def flow_of(number, minute, customer_id, address, sampling_interval, direction="outbound"):
    here, there = "192.0.2.1", f"10.0.{address // 250}.{address % 250}"
    outbound = direction == "outbound"
    return Flow(
        event_id=f"e-{number}",
        customer_id=customer_id,
        event_time_ms=MIDNIGHTS_MS[0] + minute * MINUTE_MS,
        source_address=here if outbound else there,
        destination_address=there if outbound else here,
        destination_port=443,
        direction=direction,
        protocol=6,
        state="unanswered",
        sampling_interval=sampling_interval,
    )


@pytest.mark.parametrize("rule", ["ddos", "inbound_abuse"])
@PROPERTY
@given(pairs=PAIRS, room=st.integers(2, 10), cuts=st.lists(st.integers(0, 60), max_size=6))
def test_which_cells_are_forgotten_early_does_not_depend_on_batches_and_moves(
    monkeypatch, rule, pairs, room, cuts
):
    """There may be fewer cells than pairs of customers and addresses."""
    monkeypatch.setattr(cells, "FEW", 2)
    monkeypatch.setattr(cells, "PAGE_CELLS", 2)
    policy = only(with_parameters(LOW, **{rule: {"cells_max": room}}), rule)
    history = [flow_of(number, **pair) for number, pair in enumerate(pairs)]

    whole = Run(policy).take(history)

    single = Run(policy).in_parts(history, range(len(history)))
    for other in (single, Run(policy).in_parts(history, cuts), moved(policy, history, cuts)):
        assert by_rule(whole.findings) == by_rule(other.findings)
        assert state_of(whole.partition) == state_of(other.partition)
        assert (
            whole.partition.state.rules[rule].evicted == other.partition.state.rules[rule].evicted
        )


@pytest.mark.parametrize(
    ("rule", "direction"), [("ddos", "outbound"), ("inbound_abuse", "inbound")]
)
def test_forty_thousand_addresses_a_minute_never_need_more_than_cells_max(rule, direction):
    """Forged addresses that are forgotten early are counted, and hide no flood that came first."""
    room, real, number = 5_000, 249_999, 0
    policy = with_parameters(only(load_policy(), rule), **{rule: {"cells_max": room}})
    run = Run(policy)
    state = run.partition.state.rules[rule]
    rng = np.random.default_rng(11)
    for minute in range(3):
        flood = [(real, 10_000)] * 20
        flood += [(address, 1) for address in rng.integers(0, 62_000, 40_000).tolist()]
        flows = [
            flow_of(number + n, minute, "line", address, sampling, direction)
            for n, (address, sampling) in enumerate(flood)
        ]
        run.take([None] * number + flows, number)
        number += len(flows)
        assert state.watch.pairs.cells.size <= room
    (finding,) = run.findings
    assert finding.evidence[ADDRESS[direction]] == flow_of(0, 0, "", real, 1).destination_address
    assert state.evicted > 3 * (30_000 - room)
    assert sum(len(page) for _, page in state.watch.pairs.cells.changes()) < 50 * room
    assert len(msgspec.msgpack.encode(state.remember())) < 1_000


def test_a_slow_scan_of_very_many_hosts_never_needs_more_than_contacts_max():
    """Contacts that are forgotten early are counted."""
    room, policy = 1_000, only(load_policy(), "portscan_slow")
    run = Run(with_parameters(policy, portscan_slow={"contacts_max": room}))
    for start in range(0, 5_000, 500):
        history = [flow_of(n, n, "line", n, 1) for n in range(start, start + 500)]
        run.take([None] * start + history, start)
        assert len(run.partition.state.rules["portscan_slow"].contacts) <= room
    assert run.partition.state.rules["portscan_slow"].evicted >= 5_000 - 2 * room
    assert [finding.customer_id for finding in run.findings] == ["line"] * 2
