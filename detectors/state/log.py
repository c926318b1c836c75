"""Logs: state that is stored in numbered chunks, and several logs of a rule that are one log."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from numpy.typing import NDArray


@runtime_checkable
class Log(Protocol):
    """State that is stored in numbered chunks; an empty chunk holds nothing."""

    def changes(self) -> list[tuple[int, bytes]]:
        """Number and content of each chunk that changed since the last call."""
        ...

    def restore(self, number: int, stored: bytes) -> None:
        """Take back a stored chunk."""
        ...

    def rewrite(self, number: int | None = None) -> None:
        """Store everything again at the next checkpoint.

        `number` is a chunk that another writer may have overwritten: it is stored too, even if
        this log does not use it.
        """
        ...

    def arrays(self) -> dict[str, NDArray]:
        """Everything that the last checkpoint holds, for a snapshot."""
        ...

    def take_arrays(self, arrays: Mapping[str, NDArray]) -> None:
        """Take back what `arrays` gave."""
        ...


class LogsOfRule:
    """A rule with `logs` of its own, stored as one log.

    Of `n` logs, log `i` owns the chunk numbers `k * n + i`.
    """

    logs: tuple[Log, ...]

    def changes(self) -> list[tuple[int, bytes]]:
        """Number and content of each chunk of any log that changed since the last call."""
        count = len(self.logs)
        return [
            (number * count + place, stored)
            for place, log in enumerate(self.logs)
            for number, stored in log.changes()
        ]

    def restore(self, number: int, stored: bytes) -> None:
        """Take back a stored chunk."""
        number, place = divmod(number, len(self.logs))
        self.logs[place].restore(number, stored)

    def rewrite(self, number: int | None = None) -> None:
        """Store everything again at the next checkpoint, or only the log that owns a chunk."""
        if number is None:
            for log in self.logs:
                log.rewrite()
        else:
            number, place = divmod(number, len(self.logs))
            self.logs[place].rewrite(number)

    def arrays(self) -> dict[str, NDArray]:
        """Everything that the last checkpoint holds, for a snapshot."""
        return {
            f"{place}-{name}": array
            for place, log in enumerate(self.logs)
            for name, array in log.arrays().items()
        }

    def take_arrays(self, arrays: Mapping[str, NDArray]) -> None:
        """Take back what `arrays` gave."""
        for place, log in enumerate(self.logs):
            head = f"{place}-"
            log.take_arrays(
                {n.removeprefix(head): a for n, a in arrays.items() if n.startswith(head)}
            )
