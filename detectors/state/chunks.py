"""Columns that only grow and then expire, kept as numbered chunks that can be rewritten in place.

Between two checkpoints only the new entries are written, in the chunk that is still open; an
expired chunk's number is used again, so the changelog stays as small as what is remembered.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

CHUNK_BYTES_MAX = 393_216
"""The open chunk is written anew at each checkpoint, so it is not to grow large."""

NONE = -1


class ChunkLog:
    """Which entries stand in which chunk of the changelog.

    Parameters
    ----------
    dtype
        Structured type of an entry; its field `expiry` says when it may go.
    """

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype
        self.entries_max = CHUNK_BYTES_MAX // dtype.itemsize
        self._expiry: dict[int, int] = {}
        self._close()

    def _close(self) -> None:
        self._open = np.zeros(0, self.dtype)
        self._open_number = NONE

    def write(self, entries: NDArray, floor: int) -> list[tuple[int, bytes]]:
        """Chunks to store so that the new entries are remembered; below `floor` they expired."""
        if len(entries) == 0:
            return []
        # One expiry of slack: a restart may go back to a checkpoint that still needs the chunk.
        for number in [n for n, expiry in self._expiry.items() if expiry < floor - 1]:
            del self._expiry[number]
        stored = []
        together = np.concatenate([self._open, entries])
        for start in range(0, len(together), self.entries_max):
            chunk = together[start : start + self.entries_max]
            if start or self._open_number not in self._expiry:
                self._open_number = self._free_number()
            self._open = chunk
            self._expiry[self._open_number] = int(chunk["expiry"].max())
            stored.append((self._open_number, chunk.tobytes()))
        return stored

    def take(self, number: int, stored: bytes) -> NDArray:
        """Entries of a chunk that was read back; none is open after that, all stay as they are."""
        self._close()
        entries = np.frombuffer(stored, self.dtype)
        if len(entries):
            self._expiry[number] = int(entries["expiry"].max())
        return entries

    def restart(self) -> list[tuple[int, bytes]]:
        """Give up every chunk, so that what is remembered can be written anew; empties to store."""
        emptied = [(number, b"") for number in self._expiry]
        self._expiry = {}
        self._close()
        return emptied

    def disown(self, number: int) -> None:
        """Have the next restart empty a chunk that a lost writer wrote, known here or not."""
        self._expiry.setdefault(number, 0)

    def arrays(self) -> dict[str, NDArray]:
        """Which chunks are in use until when, for a snapshot."""
        return {"chunks": np.array(list(self._expiry.items()), np.int64).reshape(-1, 2)}

    def take_arrays(self, arrays: Mapping[str, NDArray]) -> None:
        """Take back what `arrays` gave; the next entries open a chunk of their own."""
        self._expiry = dict(arrays["chunks"].tolist())
        self._close()

    def _free_number(self) -> int:
        return next(n for n in range(len(self._expiry) + 1) if n not in self._expiry)
