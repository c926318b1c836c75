"""What a customer's state costs in memory: partitions alone, without broker or Faust."""

import gc
from pathlib import Path

import numpy as np

from detectors.fold.partition import Partition
from detectors.fold.provenance import Origin
from detectors.policies.editions import load_policy
from schemas.columns import Columns
from schemas.events import Data, Sms, Storage, Voice
from schemas.fields import FIELDS, Fields, Structs
from schemas.hashing import hash_strings
from schemas.records import Customer
from schemas.units import object_column
from streams.broker.partitioner import partitions_of
from streams.settings import WorkerSettings
from tests.bench.children import say, told
from tests.bench.scales import PARTITIONS
from tests.bench.traffic import START_MS, customer_id

AT_ONCE = 8_192
"""About as many as one fetch brings."""

HEAD = {"event_id": "e", "customer_id": "c", "event_time_ms": START_MS}
EVENTS = {
    "sms": Sms(**HEAD, recipient="32471000000"),
    "voice": Voice(**HEAD, other_party="32471000000", duration_ms=60_000),
    "data": Data(**HEAD, bytes_uplink=0, bytes_downlink=1_000_000),
    "storage": Storage(**HEAD, used_bytes=500_000_000),
}


def rss_bytes() -> int:
    """Memory of this process that is in use now."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def used(kind: str, ids: list[bytes], offset: int) -> Columns:
    """One event of a kind for each customer."""
    count = len(ids)
    return Columns(
        kind=kind,
        record=np.arange(count),
        offset=offset + np.arange(count),
        customer_id=object_column(ids),
        customer_hash=hash_strings(ids),
        event_hash=hash_strings([b"%s/%s" % (kind.encode(), owner) for owner in ids]),
        time_ms=np.full(count, START_MS),
        fields=Fields(Structs([EVENTS[kind]] * count), FIELDS[kind]),
    )


def fill(partition: Partition, ids: list[bytes], offset: int) -> None:
    """Announce customers, let each use everything once, and checkpoint."""
    customers = [
        Customer(customer_id=owner.decode(), plan="unlimited", unlimited=["sms", "voice", "data"])
        for owner in ids
    ]
    partition.announce(customers)
    for kind in EVENTS:
        partition.fold(used(kind, ids, offset), Origin(f"usage.{kind}", partition.number))
    for _ in partition.state.changes():
        pass


def main(customers: int, policy: str) -> None:
    """Say what one row holds, and what all of them cost."""
    loaded, dedup_entries_max = load_policy(Path(policy)), WorkerSettings().dedup_entries_max
    partitions = [Partition(n, loaded, dedup_entries_max) for n in range(PARTITIONS)]
    rows = {name: group.row_bytes for name, group in partitions[0].state.groups.items()}
    empty_bytes = rss_bytes()
    held = [0] * PARTITIONS
    for first in range(0, customers, AT_ONCE * PARTITIONS):
        numbers = range(first, min(customers, first + AT_ONCE * PARTITIONS))
        ids = [customer_id(number).encode() for number in numbers]
        of = partitions_of(ids, PARTITIONS)
        for partition in partitions:
            own = [ids[row] for row in np.flatnonzero(of == partition.number).tolist()]
            fill(partition, own, held[partition.number])
            held[partition.number] += len(own)
    ids = own = of = None
    full_bytes = rss_bytes()
    say(rows=rows, rss_bytes=full_bytes - empty_bytes, customers=sum(held))


if __name__ == "__main__":
    main(**told())
