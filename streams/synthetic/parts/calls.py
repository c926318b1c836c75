"""Parts in calls."""

from typing import Any

import numpy as np

from schemas.events import Event
from schemas.units import HOUR_MS, MINUTE_MS, SECOND_MS, Ints
from streams.synthetic.parts.scene import Scene, one_after_another

CALL_MS = 25 * MINUTE_MS
SALESMAN_MS = 5 * HOUR_MS + 24 * MINUTE_MS
CALLS_RELAYED = 90
BOX_IMEI = "359990000000001"


def voice_daily(scene: Scene) -> list[Event]:
    """Seven to nine hours with friends, some of whom call back."""
    return _talk(scene, int(scene.rng.integers(7 * HOUR_MS, 9 * HOUR_MS)))


def voice_weekly(scene: Scene) -> list[Event]:
    """Five and a half hours every day: within the day's limit, beyond the week's."""
    return _talk(scene, int(scene.rng.integers(324 * MINUTE_MS, 336 * MINUTE_MS)))


def voice_continuous(scene: Scene) -> list[Event]:
    """Calls in a row for two and a half hours; on some days the first has three partial records."""
    duration_ms = scene.rng.integers(28 * MINUTE_MS, 32 * MINUTE_MS, 5)
    gap_ms = scene.rng.integers(5 * SECOND_MS, 45 * SECOND_MS, 5)
    times = one_after_another(scene.at(19), duration_ms, gap_ms)
    if scene.act % 2 == 0:
        return scene.voice(times, scene.friends(5), duration_ms)
    third_ms = duration_ms[:1] // 3
    return [
        *scene.voice(
            times[0] + third_ms[0] * np.arange(3),
            scene.player.friends[0],
            int(third_ms[0]),
            call_reference=f"c{scene.day.index}",
            partial_sequence=[1, 2, 3],
            final=[False, False, True],
        ),
        *scene.voice(times[1:], scene.friends(4), duration_ms[1:]),
    ]


def monitoring(scene: Scene) -> list[Event]:
    """A baby monitor: four or five calls of nearly an hour to the same number."""
    calls = int(scene.rng.integers(4, 6))
    duration_ms = scene.rng.integers(52 * MINUTE_MS, 58 * MINUTE_MS, calls)
    gap_ms = scene.rng.integers(2 * MINUTE_MS, 5 * MINUTE_MS, calls)
    times = one_after_another(scene.at(13), duration_ms, gap_ms)
    return scene.voice(times, scene.player.friends[0], duration_ms)


def gateway(scene: Scene) -> list[Event]:
    """Short calls, each to another number, from one cell and a box with several SIMs."""
    duration_ms = scene.rng.integers(40 * SECOND_MS, 180 * SECOND_MS, CALLS_RELAYED)
    gap_ms = 90 * SECOND_MS + scene.rng.exponential(5 * MINUTE_MS, CALLS_RELAYED).astype(np.int64)
    times = one_after_another(scene.at(7), duration_ms, gap_ms)
    number = int(np.searchsorted(times + duration_ms, scene.day.end_ms))
    return scene.voice(
        times[:number], scene.strangers(number), duration_ms[:number], served_imei=BOX_IMEI
    )


def salesman(scene: Scene) -> list[Event]:
    """More than five hours with a hundred clients, of whom one in three calls back."""
    return _talk(scene, SALESMAN_MS, scene.player.members)


def chatterer(scene: Scene) -> list[Event]:
    """Twice three calls in a row, an hour and a half each time, with three minutes between."""
    first_ms = scene.rng.integers(29 * MINUTE_MS, 31 * MINUTE_MS, 6)
    gap_ms = np.array([20, 20, 180, 20, 20, 0]) * SECOND_MS
    times = one_after_another(scene.at(19), first_ms, gap_ms)
    return scene.voice(times, scene.player.friends[:6], first_ms)


def couple(scene: Scene) -> list[Event]:
    """More than two and a half hours with the same person, in both directions."""
    duration_ms = scene.rng.integers(40 * MINUTE_MS, 44 * MINUTE_MS, 4)
    times = one_after_another(scene.at(18), duration_ms, 20 * MINUTE_MS)
    beloved = scene.player.friends[0]
    return [
        *scene.voice(times[:3], beloved, duration_ms[:3]),
        *scene.voice(times[3:], beloved, duration_ms[3:], direction="mt"),
    ]


def _talk(scene: Scene, total_ms: int, circle: Any = None) -> list[Event]:
    """Calls with pauses from eight o'clock on, `total_ms` in all; every third is returned.

    The longest day, nine hours with pauses of up to ten minutes, is over before midnight.
    """
    calls = -(-total_ms // CALL_MS)
    duration_ms = _shared(total_ms, scene.rng.uniform(0.5, 1.5, calls))
    gap_ms = scene.rng.integers(2 * MINUTE_MS, 10 * MINUTE_MS, calls)
    times = one_after_another(scene.at(8), duration_ms, gap_ms)
    circle = scene.player.friends if circle is None else circle
    partners = [circle[chosen] for chosen in scene.rng.integers(0, len(circle), calls).tolist()]
    returned = scene.within(21.5, HOUR_MS, len(partners[::3]))
    return [
        *scene.voice(times, partners, duration_ms),
        *scene.voice(returned, partners[::3], 50 * SECOND_MS, direction="mt"),
    ]


def _shared(total: int, weight: Any) -> Ints:
    """Shares of a total by weight, rounded down, shape (n,)."""
    shared: Ints = (total * weight / weight.sum()).astype(np.int64)
    return shared
