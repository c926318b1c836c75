"""From the message that crosses a limit to the action, read by a consumer, under load.

A new customer every 50 ms is one message short of a lowered limit when the load begins; the message
that crosses it is sent while the load goes on. Nobody else crosses a limit.
"""

import asyncio
import gc
import json
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from detectors.policies import default_policy_path
from schemas.events import Sms
from streams.clock import wall_clock
from streams.outbox import Outbox
from streams.partitioner import partition_of
from streams.topics import ACTIONS
from tests.bench.figures import BenchError
from tests.bench.scales import PARTITIONS
from tests.bench.traffic import SPAN_MS, START_MS, Traffic, encode

TICK_SECONDS = 0.05
LIMIT = 40
"""Messages a day, so high that the load's own customers stay below it."""

TIME_MS = START_MS + SPAN_MS + 86_400_000
"""Later than the events of the run before, and not later than the load's own."""

ANSWER_SECONDS_MAX = 30


def lowered_policy(folder: Path) -> Path:
    """The default policy with the lowered limit."""
    default = default_policy_path().read_text(encoding="utf-8")
    lowered = default.replace("limit = 350 ", f"limit = {LIMIT} ", 1)
    if lowered == default:
        raise BenchError("the default policy has no `limit = 350` any more: mend tests/bench")
    path = folder / "lowered.toml"
    path.write_text(lowered, encoding="utf-8")
    return path
