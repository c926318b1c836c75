"""Parts in mobile data, and parts in several kinds of use."""

import numpy as np

from schemas.events import Event
from schemas.units import GB, HOUR_MS, MB, MINUTE_MS, SECOND_MS
from streams.synthetic.parts.scene import Scene

MACHINE_STEP_MS = 15 * MINUTE_MS
ABROAD_BYTES = 5 * GB
OVERLOAD_BYTES = 10 * GB


def data_bundle(scene: Scene) -> list[Event]:
    """120 % of the month's bundle in one day."""
    times = scene.within(12, 9 * HOUR_MS, 4)
    return scene.data(times, scene.player.bundle_bytes * 3 // 10, HOUR_MS)


def careful_user(scene: Scene) -> list[Event]:
    """2.4 % of the bundle a day: three quarters of it in the longest month."""
    moment = scene.day.moments_ms(scene.rng, 1)
    return scene.data(moment, scene.player.bundle_bytes * 24 // 1000, HOUR_MS)


def roaming_volume(scene: Scene) -> list[Event]:
    """40 GB abroad in one day."""
    return scene.data(scene.at(9) + 90 * MINUTE_MS * np.arange(8), ABROAD_BYTES, HOUR_MS)


def sharing(scene: Scene) -> list[Event]:
    """Six to nine devices behind one SIM."""
    devices = int(scene.rng.integers(6, 10))
    times = scene.within(9, 12 * HOUR_MS, devices)
    names = [f"{scene.player.customer_id}-guest{number}" for number in range(devices)]
    used = scene.rng.integers(20 * MB, 90 * MB, devices)
    return scene.data(times, used, 30 * MINUTE_MS, device_fingerprint=names)


def family(scene: Scene) -> list[Event]:
    """A tablet and a child's telephone besides the customer's own."""
    names = [f"{scene.player.customer_id}-{device}" for device in ("tablet", "child")]
    times = scene.within(16, 4 * HOUR_MS, 2)
    return scene.data(times, 20 * MB, 20 * MINUTE_MS, device_fingerprint=names)


def machine(scene: Scene) -> list[Event]:
    """The same few bytes every quarter of an hour, day and night."""
    times = np.arange(scene.day.start_ms + MINUTE_MS, scene.day.end_ms, MACHINE_STEP_MS)
    jitter_ms = scene.rng.integers(0, 3 * SECOND_MS, len(times))
    return scene.data(times + jitter_ms, 51_200, 4 * SECOND_MS)


def backup_client(scene: Scene) -> list[Event]:
    """A backup of nearly the same size every night, besides the usual use."""
    time_ms = scene.at(1) + scene.rng.integers(0, 20 * MINUTE_MS, 1)
    written = int(scene.rng.integers(38 * MB, 42 * MB))
    return [
        *scene.data(time_ms, written, 5 * MINUTE_MS),
        *scene.storage(written_bytes=written),
    ]


def night_nurse(scene: Scene) -> list[Event]:
    """The usual texts, calls and sessions of a person, but at night."""
    rng = scene.rng
    texts = scene.within(0, 6 * HOUR_MS, int(rng.integers(1, 4)))
    calls = scene.within(22, 90 * MINUTE_MS, 1)
    sessions = scene.within(0, 6 * HOUR_MS, int(rng.integers(1, 4)))
    return [
        *scene.sms(texts, scene.friends(len(texts))),
        *scene.voice(calls, scene.friends(1), int(rng.integers(MINUTE_MS, 5 * MINUTE_MS))),
        *scene.data(
            sessions,
            rng.integers(50 * MB, 400 * MB, len(sessions)),
            rng.integers(5 * MINUTE_MS, HOUR_MS, len(sessions)),
        ),
    ]


def deviation(scene: Scene) -> list[Event]:
    """Sixty sessions a day; other customers have one or two."""
    used = scene.rng.integers(MB, 5 * MB, 60)
    duration_ms = scene.rng.integers(MINUTE_MS, 5 * MINUTE_MS, 60)
    return scene.data(scene.day.moments_ms(scene.rng, 60), used, duration_ms)


def student(scene: Scene) -> list[Event]:
    """One text a day more than the habit."""
    return scene.sms(scene.day.moments_ms(scene.rng, 1), scene.friends(1))


def overload(scene: Scene) -> list[Event]:
    """Half an hour at 267 Mbit/s in one cell."""
    times = scene.at(20) + 5 * MINUTE_MS * np.arange(6)
    return scene.data(times, OVERLOAD_BYTES, 5 * MINUTE_MS)
