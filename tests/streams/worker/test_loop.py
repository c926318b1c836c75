"""The loop closed: a worker, enforcement and a real RADIUS server, killed at random."""

import asyncio
import time

import msgspec

from detectors.ladder.dossier import customer_of, unpack_dossier
from detectors.policies.editions import load_policy
from schemas.events import Flow
from schemas.records import Customer
from schemas.topics import ENFORCEMENT_RESULTS
from streams.clock import wall_clock
from streams.enforce.account import Restriction
from streams.enforce.adapters.contract import spelled
from tests.support.harness.live import (
    POLL_SECONDS,
    Worker,
    customer_records,
    fresh_topics,
    produce,
    read_topic,
    records_of,
    recovered,
    usage_records,
    wait_until_committed,
)
from tests.support.harness.live_enforcement import FINAL, Enforcement
from tests.support.harness.radius_server import SECRET
from tests.support.harness.receiver import Receiver

PARTITIONS = 4
APP_ID = "fairuse"
CUSTOMERS = 60
KILLS = 6
SETTLE_SECONDS_MAX = 180
HOUR_MS, DAY_MS, MINUTE_MS = 3_600_000, 86_400_000, 60_000


def scan(name, time_ms):
    """Twenty ports of one host within a minute."""
    return [flow(name, time_ms + port, destination_port=port) for port in range(1, 21)]


def flood(name, time_ms):
    """Two minutes of more packets than an address may get."""
    return [
        flow(name, time_ms + n * MINUTE_MS, packets=2_000_000, bytes=120_000_000, protocol=17)
        for n in range(2)
    ]


def flow(name, time_ms, **fields):
    given = {"destination_port": 53, "protocol": 6, "state": "unanswered"} | fields
    return Flow(
        event_id=f"{name}-{time_ms}",
        customer_id=name,
        event_time_ms=time_ms,
        source_address="192.0.2.1",
        destination_address="198.51.100.1",
        **given,
    )


def stories(chance, now_ms):
    """Some scan or flood ten days ago and are let go, some an hour ago, some both times."""
    events = []
    for number in range(CUSTOMERS):
        name = f"32470{number:06}"
        for days in chance.choice([(10,), (0,), (10, 0), ()]):
            time_ms = now_ms - days * DAY_MS - HOUR_MS + chance.randrange(20 * MINUTE_MS)
            events += chance.choice([scan, flood])(name, time_ms)
    return sorted(events, key=lambda event: event.event_time_ms)


def held_by_the_ladder(bootstrap):
    """What is in force for each customer, as the ladder's changelog and the actions say."""
    _, ladders = recovered(bootstrap, APP_ID, load_policy(), PARTITIONS)
    actions = records_of(bootstrap, "actions", "action_id")
    held = {}
    for ladder in ladders:
        for key, packed in ladder.state.cases.items():
            for hold in unpack_dossier(packed).in_force.values():
                if hold.rule:
                    action = actions[hold.action_id]
                    held[customer_of(key)] = spelled(
                        Restriction(
                            hold.action_id,
                            action["kind"],
                            action["service"],
                            action["parameters"],
                            0,
                        )
                    )
    return held


def test_what_the_network_holds_in_the_end_is_what_the_ladder_says(kafka, radius, tmp_path, chance):
    fresh_topics(kafka.bootstrap, APP_ID, PARTITIONS)
    customers = [Customer(customer_id=f"32470{n:06}", plan="fast") for n in range(CUSTOMERS)]
    asyncio.run(produce(kafka.bootstrap, customer_records(customers), PARTITIONS))
    lines = [msgspec.json.encode(event) for event in stories(chance, wall_clock())]
    for folder in ("radius", "webhook"):
        (tmp_path / folder).mkdir()
    with Receiver() as receiver:
        radius_address = ("--radius-host", "127.0.0.1", "--radius-port", str(radius.coa_port))
        processes = [
            Worker(kafka.bootstrap, tmp_path),
            Enforcement(
                kafka.bootstrap,
                tmp_path / "radius",
                "radius",
                *radius_address,
                radius_secret=SECRET,
            ),
            Enforcement(
                kafka.bootstrap,
                tmp_path / "webhook",
                "webhook",
                *("--webhook-url", receiver.url),
                webhook_secret="whsec_YWJj",
            ),
        ]
        try:
            for process in processes:
                process.start()
            processes[0].wait_ready()
            for part in range(KILLS):
                some = lines[part * len(lines) // KILLS : (part + 1) * len(lines) // KILLS]
                asyncio.run(produce(kafka.bootstrap, usage_records(some), PARTITIONS))
                time.sleep(chance.uniform(0.3, 2))
                victim = chance.choice(processes)
                victim.kill()
                victim.start()
            processes[0].wait_ready()
            wait_until_committed(kafka.bootstrap, APP_ID, SETTLE_SECONDS_MAX)
            wait_until_they_agree(kafka.bootstrap, radius)
        finally:
            for process in processes:
                process.kill()


def wait_until_they_agree(bootstrap, radius):
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    ladder, network = held_by_the_ladder(bootstrap), held_by_the_network(radius)
    while ladder != network or unanswered(bootstrap):
        assert time.monotonic() < deadline, (ladder, network, unanswered(bootstrap))
        time.sleep(POLL_SECONDS)
        ladder, network = held_by_the_ladder(bootstrap), held_by_the_network(radius)
    kinds = {action["kind"] for action in records_of(bootstrap, "actions", "action_id").values()}
    assert {"notify", "throttle", "suspend", "release"} <= kinds
    assert ladder, "nobody is restricted"
    assert "unrestricted" in radius.held().values(), "nobody was let go"


def held_by_the_network(radius):
    return {name: what for name, what in radius.held().items() if what != "unrestricted"}


def unanswered(bootstrap):
    """Actions of which nobody said what became of them."""
    said = (msgspec.json.decode(r.value) for r in read_topic(bootstrap, ENFORCEMENT_RESULTS))
    answered = {each["action_id"] for each in said if each["status"] in FINAL}
    return set(records_of(bootstrap, "actions", "action_id")) - answered
