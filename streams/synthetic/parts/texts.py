"""Parts in text messages."""

import numpy as np

from schemas.events import Event
from schemas.units import HOUR_MS, MB, MINUTE_MS, SECOND_MS
from streams.synthetic.parts.scene import Scene

MONTHLY_TEXTS_PER_DAY = 345
FESTIVAL_TEXTS = 335
SECRETARY_RECIPIENTS = 18
ORGANISER_RECIPIENTS = 120


def sms_daily(scene: Scene) -> list[Event]:
    """Some 500 texts to friends, at all hours."""
    number = int(scene.rng.integers(400, 601))
    return scene.sms(scene.day.moments_ms(scene.rng, number), scene.friends(number))


def sms_monthly(scene: Scene) -> list[Event]:
    """345 texts: within the day's limit, but beyond the month's limit in 29 days."""
    number = MONTHLY_TEXTS_PER_DAY
    return scene.sms(scene.day.moments_ms(scene.rng, number), scene.friends(number))


def sms_group(scene: Scene) -> list[Event]:
    """One text to 25 to 60 recipients within five minutes."""
    number = int(scene.rng.integers(25, 61))
    hour = int(scene.rng.integers(8, 21))
    times = scene.within(hour, 5 * MINUTE_MS, number)
    return scene.sms(times, scene.strangers(number), message_reference=f"m{hour}")


def sms_bulk(scene: Scene) -> list[Event]:
    """Texts of many wordings to 220 to 300 strangers within an hour; three of them answer."""
    number = int(scene.rng.integers(220, 301))
    hour = int(scene.rng.integers(8, 20))
    strangers = scene.strangers(number)
    answers = scene.within(hour + 1, HOUR_MS, 3)
    return [
        *scene.sms(scene.within(hour, 55 * MINUTE_MS, number), strangers),
        *scene.sms(answers, strangers[:3], direction="mt"),
    ]


def festival_crowd(scene: Scene) -> list[Event]:
    """Many texts, calls and pictures to friends, all from the same cell."""
    cell = {"cell_id": "cell-festival"}
    times = scene.within(14, 9 * HOUR_MS, FESTIVAL_TEXTS)
    sessions = scene.within(14, 9 * HOUR_MS, 10)
    calls = scene.at(14) + HOUR_MS * np.arange(3)
    return [
        *scene.sms(times, scene.friends(FESTIVAL_TEXTS), **cell),
        *scene.voice(calls, scene.friends(3), 40 * SECOND_MS, **cell),
        *scene.data(sessions, scene.rng.integers(5 * MB, 30 * MB, 10), 4 * MINUTE_MS, **cell),
    ]


def club_secretary(scene: Scene) -> list[Event]:
    """One text to 18 members, most of whom answer."""
    members = scene.player.members[:SECRETARY_RECIPIENTS]
    times = scene.within(19, 3 * MINUTE_MS, len(members))
    answers = scene.within(20, HOUR_MS, len(members) - 4)
    return [
        *scene.sms(times, members, message_reference=f"w{scene.act}"),
        *scene.sms(answers, members[4:], direction="mt"),
    ]


def organiser(scene: Scene) -> list[Event]:
    """Texts to 120 people within an hour; four in five of them answer within a minute."""
    people = scene.player.members[:ORGANISER_RECIPIENTS]
    times = scene.within(18, 50 * MINUTE_MS, len(people))
    delays_ms = scene.rng.integers(10 * SECOND_MS, MINUTE_MS, len(people))
    answering = np.flatnonzero(np.arange(len(people)) % 5 != 0)
    answers = [people[person] for person in answering.tolist()]
    return [
        *scene.sms(times, people),
        *scene.sms((times + delays_ms)[answering], answers, direction="mt"),
    ]
