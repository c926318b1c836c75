"""Accepts actions and has an adapter carry them out; uses neither Kafka nor any network."""

import logging
from collections.abc import Iterable
from time import perf_counter
from typing import Protocol

import msgspec

from schemas.events import TIME_MS_MAX, TIME_MS_MIN
from schemas.records import Action, EnforcementResult
from streams.clock import Clock
from streams.enforce.account import Instruction, Outcome, accept, begin, finish, pass_over
from streams.enforce.adapters.contract import Adapter, AdapterError, Unavailable
from streams.enforce.metrics import EnforcementMetrics
from streams.enforce.store import Store

logger = logging.getLogger(__name__)

ID_LENGTH_MAX = 64
ACTION = msgspec.json.Decoder(Action)


class Record(Protocol):
    """A record of the topic `actions`."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


class BadRecord(Exception):
    """A record that is no usable action, and why."""


class Enforcer:
    """Carries out the actions of its partitions, each of them once, and reports the results.

    Parameters
    ----------
    store
        Where the state is kept.
    adapter
        Carries out instructions.
    clock
        The time.
    attempts_max
        How often an instruction is tried before it has failed.
    customers_max
        Customers remembered though none of their actions waits or is in force.
    metrics
        What is measured.
    """

    def __init__(
        self,
        store: Store,
        adapter: Adapter,
        clock: Clock,
        *,
        attempts_max: int,
        customers_max: int,
        metrics: EnforcementMetrics,
    ) -> None:
        self.store = store
        self.metrics = metrics
        self._adapter = adapter
        self._clock = clock
        self._attempts_max = attempts_max
        self._customers_max = customers_max

    def take_in(self, records: Iterable[Record]) -> None:
        """Accept the actions of records, and store the new position in the same transaction.

        Parameters
        ----------
        records
            Records of the topic `actions`, those of a partition by offset; records before the
            stored position are passed over.
        """
        with self.store.transaction():
            for record in records:
                expected = self.store.position(record.partition)
                if expected is not None and record.offset < expected:
                    continue
                try:
                    self._accept(usable_action(record), record)
                except BadRecord as error:
                    self.metrics.bad_records.inc()
                    logger.warning(
                        "record %d of partition %d of actions is skipped: %s",
                        record.offset,
                        record.partition,
                        error,
                    )
                self.store.advance(record.partition, record.offset + 1)

    def tidy(self) -> int:
        """Forget customers beyond `customers_max`, and update the gauges.

        Returns
        -------
        How many actions wait.
        """
        with self.store.transaction():
            self.store.forget_idle(self._customers_max)
        waiting, in_force = self.store.held()
        self.metrics.waiting.set(waiting)
        self.metrics.in_force.set(in_force)
        return waiting

    def _accept(self, action: Action, record: Record) -> None:
        now_ms = self._clock()
        account = self.store.account(action.customer_id)
        if not self._adapter.handles(action):
            self.metrics.passed_over.inc()
            account, results = pass_over(account, action), []
        else:
            self.metrics.held.inc(action.human_review)
            account, results = accept(
                account, action, record.offset, now_ms, announce=self._adapter.announces
            )
        self.store.put(action.customer_id, record.partition, account, now_ms)
        self._report(results)

    def due(self, customers_max: int) -> list[tuple[str, int]]:
        """List customers for whom there is something to do now.

        Parameters
        ----------
        customers_max
            How many are listed at most.

        Returns
        -------
        Customer ids and partitions, the longest due first.
        """
        return self.store.due(self._clock(), customers_max)

    def attend(self, customer_id: str, partition: int) -> None:
        """Carry out one customer's next instruction, and store what came of it.

        Parameters
        ----------
        customer_id
            The customer.
        partition
            The partition of the customer's actions.
        """
        account, results, instruction = begin(self.store.account(customer_id), self._clock())
        if instruction is not None:
            outcome = self._carry_out(instruction)
            account, final = finish(
                account, instruction, outcome, self._clock(), self._attempts_max
            )
            results += final
        with self.store.transaction():
            self.store.put(customer_id, partition, account, self._clock())
            self._report(results)

    def _carry_out(self, instruction: Instruction) -> Outcome:
        started = perf_counter()
        try:
            return Outcome(self._adapter.carry_out(instruction))
        except AdapterError as error:
            passing = isinstance(error, Unavailable)
            self.metrics.retries.inc(passing)
            logger.warning("action %s was not done: %s", instruction.action.action_id, error)
            return Outcome(str(error), "passing" if passing else "lasting")
        finally:
            self.metrics.attempt.observe(perf_counter() - started)

    def _report(self, results: list[EnforcementResult]) -> None:
        for result in results:
            self.metrics.results.labels(result.status).inc()
        self.store.queue(results)


def usable_action(record: Record) -> Action:
    """Read the action that a record holds.

    Parameters
    ----------
    record
        A record of the topic `actions`.

    Returns
    -------
    The action.

    Raises
    ------
    BadRecord
        The record is empty or malformed, or has another key, or an id or a time out of range.
    """
    if not record.value:
        raise BadRecord("it is empty")
    try:
        action = ACTION.decode(record.value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRecord(str(error)) from None
    if not (
        1 <= len(action.action_id) <= ID_LENGTH_MAX
        and 1 <= len(action.customer_id) <= ID_LENGTH_MAX
    ):
        raise BadRecord(f"an id does not have 1 to {ID_LENGTH_MAX} characters")
    if record.key != action.customer_id.encode():
        raise BadRecord("its key is not its customer_id")
    times = (action.decided_ms, action.effective_ms, action.expires_ms or TIME_MS_MIN)
    if not all(TIME_MS_MIN <= time_ms <= TIME_MS_MAX for time_ms in times):
        raise BadRecord("a time in it is out of range")
    return action
