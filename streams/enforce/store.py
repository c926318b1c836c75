"""Accounts, positions and unsent results in one SQLite file: a crash leaves them consistent."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import msgspec

from schemas.records import EnforcementResult
from streams.enforce.account import Account, wake_ms
from streams.enforce.errors import EnforceError

VERSION = 1
"""Version of the tables and of the packed records in them."""

TABLES = """
CREATE TABLE accounts (
    customer_id TEXT PRIMARY KEY,
    partition INTEGER NOT NULL,
    wake_ms INTEGER,
    oldest_offset INTEGER,
    waiting INTEGER NOT NULL,
    in_force INTEGER NOT NULL,
    touched_ms INTEGER NOT NULL,
    packed BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX accounts_wake ON accounts (wake_ms) WHERE wake_ms IS NOT NULL;
CREATE INDEX accounts_oldest ON accounts (partition, oldest_offset)
    WHERE oldest_offset IS NOT NULL;
CREATE INDEX accounts_held ON accounts (waiting, in_force) WHERE waiting + in_force > 0;
CREATE INDEX accounts_idle ON accounts (touched_ms) WHERE waiting + in_force = 0;
CREATE TABLE positions (partition INTEGER PRIMARY KEY, next_offset INTEGER NOT NULL);
CREATE TABLE unsent (number INTEGER PRIMARY KEY AUTOINCREMENT, packed BLOB NOT NULL);
"""

PACK = msgspec.msgpack.Encoder()
ACCOUNT = msgspec.msgpack.Decoder(Account)
RESULT = msgspec.msgpack.Decoder(EnforcementResult)


class Store:
    """The stored state of enforcement; a row for each customer who had an action.

    Parameters
    ----------
    path
        The file, created if it does not exist; None for a database in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path or ":memory:", timeout=0, isolation_level=None)
            self._open()
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from None

    def _open(self) -> None:
        run = self._database.execute
        # The lock is held from the first transaction until the end: one process uses a file.
        run("PRAGMA locking_mode = EXCLUSIVE")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        run("BEGIN EXCLUSIVE")
        version = run("PRAGMA user_version").fetchone()[0]
        if version not in (0, VERSION):
            raise EnforceError(
                f"{self.path} was written by another version of fairuse: run that version, "
                "or name another --data-dir."
            )
        if version == 0:
            for statement in TABLES.split(";"):
                run(statement)
            run(f"PRAGMA user_version = {VERSION}")
        run("COMMIT")

    def _unusable(self, error: Exception) -> EnforceError:
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            return EnforceError(
                f"{self.path} is in use by another `fairuse enforce`: stop that one first, "
                "or name another --data-dir."
            )
        return EnforceError(
            f"{self.path} can't be used ({error}): remove the cause, or name another --data-dir."
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._database.close()

    def copy(self) -> "Store":
        """Copy the state, for a dry run.

        Returns
        -------
        The copy, in memory.
        """
        store = Store(None)
        self._database.backup(store._database)
        return store

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep everything that is changed inside, or nothing; it is on disk at the end.

        Returns
        -------
        A context manager.
        """
        self._database.execute("BEGIN")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def account(self, customer_id: str) -> Account:
        """Read what is known of a customer.

        Parameters
        ----------
        customer_id
            The customer.

        Returns
        -------
        The account, empty if there is none.
        """
        query = "SELECT packed FROM accounts WHERE customer_id = ?"
        row = self._database.execute(query, (customer_id,)).fetchone()
        return Account() if row is None else ACCOUNT.decode(row[0])

    def put(self, customer_id: str, partition: int, account: Account, now_ms: int) -> None:
        """Keep what is known of a customer.

        Parameters
        ----------
        customer_id
            The customer.
        partition
            The partition of the customer's actions.
        account
            What is known.
        now_ms
            The time, ms.
        """
        oldest = min((each.offset for each in account.waiting), default=None)
        self._database.execute(
            "REPLACE INTO accounts VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                customer_id,
                partition,
                wake_ms(account),
                oldest,
                len(account.waiting),
                len(account.in_force),
                now_ms,
                PACK.encode(account),
            ),
        )

    def due(self, now_ms: int, customers_max: int) -> list[tuple[str, int]]:
        """List customers for whom there is something to do.

        Parameters
        ----------
        now_ms
            The time, ms.
        customers_max
            How many are listed at most.

        Returns
        -------
        Customer ids and partitions, the longest due first.
        """
        query = (
            "SELECT customer_id, partition FROM accounts WHERE wake_ms <= ? "
            "ORDER BY wake_ms LIMIT ?"
        )
        return self._database.execute(query, (now_ms, customers_max)).fetchall()

    def wake_ms(self) -> int | None:
        """Find the time at which there is something to do next.

        Returns
        -------
        The time, ms; None if nothing waits.
        """
        return self._database.execute("SELECT min(wake_ms) FROM accounts").fetchone()[0]

    def held(self) -> tuple[int, int]:
        """Count over all customers.

        Returns
        -------
        How many actions wait, and how many restrictions are in force.
        """
        query = "SELECT total(waiting), total(in_force) FROM accounts WHERE waiting + in_force > 0"
        waiting, in_force = self._database.execute(query).fetchone()
        return int(waiting), int(in_force)

    def forget_idle(self, customers_max: int) -> int:
        """Forget customers without waiting actions and restrictions, those unchanged for longest.

        Parameters
        ----------
        customers_max
            How many such customers are kept.

        Returns
        -------
        How many were forgotten.
        """
        idle = "SELECT count(*) FROM accounts WHERE waiting + in_force = 0"
        surplus = self._database.execute(idle).fetchone()[0] - customers_max
        if surplus > 0:
            self._database.execute(
                "DELETE FROM accounts WHERE customer_id IN (SELECT customer_id FROM accounts "
                "WHERE waiting + in_force = 0 ORDER BY touched_ms LIMIT ?)",
                (surplus,),
            )
        return max(surplus, 0)

    def position(self, partition: int) -> int | None:
        """Read the stored position in a partition of the actions.

        Parameters
        ----------
        partition
            The partition.

        Returns
        -------
        Offset of the next action; None if none was read yet.
        """
        query = "SELECT next_offset FROM positions WHERE partition = ?"
        row = self._database.execute(query, (partition,)).fetchone()
        return None if row is None else row[0]

    def advance(self, partition: int, next_offset: int) -> None:
        """Store the position in a partition of the actions.

        Parameters
        ----------
        partition
            The partition.
        next_offset
            Everything before this offset was read.
        """
        self._database.execute("REPLACE INTO positions VALUES (?, ?)", (partition, next_offset))

    def finished(self) -> dict[int, int]:
        """Find the offsets to commit.

        Returns
        -------
        By partition, the offset before which every action has its final result.
        """
        query = (
            "SELECT partition, min(next_offset, ifnull((SELECT min(oldest_offset) FROM accounts "
            "WHERE partition = positions.partition), next_offset)) FROM positions"
        )
        return dict(self._database.execute(query).fetchall())

    def queue(self, results: Iterable[EnforcementResult]) -> None:
        """Keep results until they are sent.

        Parameters
        ----------
        results
            The results, in order.
        """
        rows = [(PACK.encode(result),) for result in results]
        self._database.executemany("INSERT INTO unsent (packed) VALUES (?)", rows)

    def unsent(self, results_max: int) -> list[tuple[int, EnforcementResult]]:
        """Read results that are still to be sent.

        Parameters
        ----------
        results_max
            How many are read at most.

        Returns
        -------
        Their numbers and the results, oldest first.
        """
        query = "SELECT number, packed FROM unsent ORDER BY number LIMIT ?"
        rows = self._database.execute(query, (results_max,)).fetchall()
        return [(number, RESULT.decode(packed)) for number, packed in rows]

    def sent(self, number: int) -> None:
        """Forget results that have arrived.

        Parameters
        ----------
        number
            The number of the newest of them.
        """
        self._database.execute("DELETE FROM unsent WHERE number <= ?", (number,))
