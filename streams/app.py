"""The app of `faust -A streams.app worker`, built when its name `app` is asked for."""

from typing import Any

from streams.settings import WorkerSettings, load_settings
from streams.worker.app import create_app


def __getattr__(name: str) -> Any:
    if name == "app":
        return create_app(load_settings(WorkerSettings, {}))
    raise AttributeError(name)
