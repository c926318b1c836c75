"""Parts in television."""

import numpy as np

from schemas.events import Event
from streams.synthetic.parts.scene import Scene

DEVICES, DEVICES_ALLOWED = 9, 5


def stream_devices(scene: Scene) -> list[Event]:
    """Three viewings a day, on nine devices in turn."""
    device = [1 + (3 * scene.act + turn) % DEVICES for turn in range(3)]
    times = np.array([scene.at(hour) for hour in (17, 19, 21)])
    return scene.stream(times, device, scene.rng.integers(50, 90, 3), "home")


def stream_concurrent(scene: Scene) -> list[Event]:
    """Four viewings at the same time."""
    times = scene.within(20, 600_000, 4)
    return scene.stream(times, [1, 2, 3, 4], scene.rng.integers(60, 100, 4), "home")


def stream_elsewhere(scene: Scene) -> list[Event]:
    """One hour at home, and three hours in two other homes."""
    times = np.array([scene.at(hour) for hour in (16, 18, 20)])
    return scene.stream(times, [1, 2, 3], [50, 90, 90], ["home", "neighbour", "cousin"])


def family_with_television(scene: Scene) -> list[Event]:
    """Two viewings at the same time, on five devices in turn."""
    device = [1 + (scene.act + turn) % DEVICES_ALLOWED for turn in range(2)]
    times = scene.within(19, 600_000, 2)
    return scene.stream(times, device, scene.rng.integers(60, 100, 2), "home")


def weekender(scene: Scene) -> list[Event]:
    """All viewing of the weekend is at a cottage."""
    times = np.array([scene.at(hour) for hour in (15, 20)])
    return scene.stream(times, [1, 2], scene.rng.integers(60, 120, 2), "cottage")
