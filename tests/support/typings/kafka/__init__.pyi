"""kafka-python 3 has no types, and type checkers bundle those of version 2, which differ."""

from typing import Any

def __getattr__(name: str) -> Any: ...
