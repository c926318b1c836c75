"""Entries that are added, never changed, and expire: stored in numbered chunks.

A checkpoint writes the new entries only, into the chunk that is still open. The number of an
expired chunk is used again, so the changelog stays as small as what is remembered.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

CHUNK_BYTES_MAX = 393_216
"""Each checkpoint writes the open chunk again, so a chunk must not grow large."""

NONE = -1
"""Number of the open chunk if none is open."""


class ChunkLog:
    """Writes entries into chunks, and knows which chunks are in use until when.

    Parameters
    ----------
    dtype
        Structured type of an entry; its field `expiry` says until when it is needed.
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
        """Number and content of the chunks that new entries change.

        Chunks all of whose entries expired before `floor` are free to be used again.
        """
        if len(entries) == 0:
            return []
        # A chunk stays one unit longer: a restart may go back to a checkpoint that needs it.
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
        """Take in a stored chunk, return its entries; the next new entries open another chunk."""
        self._close()
        entries = np.frombuffer(stored, self.dtype)
        if len(entries):
            self._expiry[number] = int(entries["expiry"].max())
        return entries

    def restart(self) -> list[tuple[int, bytes]]:
        """Give up every chunk, before all entries are written again; return the emptied chunks."""
        emptied = [(number, b"") for number in self._expiry]
        self._expiry = {}
        self._close()
        return emptied

    def disown(self, number: int) -> None:
        """Let the next `restart` empty a chunk that another writer may have written."""
        self._expiry.setdefault(number, 0)

    def arrays(self) -> dict[str, NDArray]:
        """Numbers and expiries of the chunks in use, for a snapshot."""
        return {"chunks": np.array(list(self._expiry.items()), np.int64).reshape(-1, 2)}

    def take_arrays(self, arrays: Mapping[str, NDArray]) -> None:
        """Take back what `arrays` gave; the next entries open a new chunk."""
        self._expiry = dict(arrays["chunks"].tolist())
        self._close()

    def _free_number(self) -> int:
        return next(n for n in range(len(self._expiry) + 1) if n not in self._expiry)
