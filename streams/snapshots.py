"""Local snapshots: a worker that restarts on the same machine reads only what came after."""

from typing import Any

from streams.settings import Settings


class Snapshots:
    """Placeholder until the columns can be saved."""

    def __init__(self, settings: Settings) -> None:
        self.folder = settings.data_dir

    def load(self, table: Any, partition: int) -> None:
        """Nothing saved yet."""
        return None

    def save_due(self) -> None:
        """Nothing to do yet."""
