"""The logs of a rule, one or several, kept as one."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray


class LogsOfRule:
    """What a rule does that has logs of its own: of several, each has every so manieth number."""

    logs: tuple[Any, ...]

    def changes(self) -> list[tuple[int, bytes]]:
        """Chunks of every log to store."""
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
        """Store everything anew at the next checkpoint, over chunk `number` too."""
        if number is None:
            for log in self.logs:
                log.rewrite()
        else:
            number, place = divmod(number, len(self.logs))
            self.logs[place].rewrite(number)

    def arrays(self) -> dict[str, NDArray]:
        """Everything, for a snapshot."""
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
