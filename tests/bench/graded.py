"""Parts of graded strength: abusers from faint to blatant, and innocents who come ever closer.

The operator's own parts (`streams/synthetic/parts`) stand plainly on one side of a limit. These lie
on both sides of it and on each other's, so that precision and recall change with the threshold. How
strong a player is follows from the player's traits. All ranges are judgement; sources are named.
"""

from typing import Any

import numpy as np

from schemas.events import Event
from schemas.units import HOUR_MS, MB, MINUTE_MS, SECOND_MS, Ints
from streams.synthetic.parts.part import EVERYTHING, Part
from streams.synthetic.parts.scene import FIRST_LIVING_HOST, HOSTS, Scene, one_after_another
from streams.synthetic.parts.schedules import (
    days_between,
    some_days,
    some_days_of_a_week,
    stretch,
    two_closed_weeks,
    two_weeks,
    weekdays,
    weekends,
)
from streams.synthetic.plans import PACK_UNLIMITED

BOX_SIMS = 8
TOWN_CELLS = [f"206-20-70{cell:02d}" for cell in range(12)]
OPENING_HOURS_SHARE, SHARED_CARD_SHARE = 0.2, 0.1
CALL_MS = 50 * MINUTE_MS


def traits(scene: Scene, number: int) -> list[float]:
    """So many numbers between 0 and 1, the same on each of the player's days."""
    return np.random.default_rng(int(scene.player.customer_id)).random(number).tolist()


def between(least: float, most: float, trait: float) -> float:
    """Evenly between two values."""
    return least + trait * (most - least)


def by_factors(least: float, most: float, trait: float) -> float:
    """Between two values, each doubling as likely as the other."""
    return least * (most / least) ** trait


# -- gateway ------------------------------------------------------------------------------------


def sim_box(scene: Scene) -> list[Event]:
    """30 to 140 calls to strangers out of a box; the more effort, the fewer signs of one show.

    The signs are those of Murynets et al., Analysis and detection of SIMbox fraud in mobility
    networks, INFOCOM 2014.
    """
    size, effort, *signs = traits(scene, 7)
    calls_back, repeats, moves, texts, own_device = (sign < effort / 2 for sign in signs)
    number = int(between(30, 140, size))
    called = np.resize(scene.strangers(number * 3 // 5 if repeats else number), number).tolist()
    box = scene.player.imei if own_device else f"35999000001{scene.player.rank // BOX_SIMS:04d}"
    of_box = {"served_imei": box, "cell_id": _cells(scene, number) if moves else scene.player.cell}
    events = _calls(scene, 7, 16, called, **of_box)
    if calls_back:
        events += _calls(scene, 7, 16, called[: number // 5], direction="mt")
    if texts:
        events += scene.sms(scene.within(8, 12 * HOUR_MS, 3), scene.friends(3))
    return events


def courier(scene: Scene) -> list[Event]:
    """40 to 110 addressees called from all over town; up to a third call back, some get a text."""
    size, back = traits(scene, 2)
    called = scene.strangers(int(between(40, 110, size)))
    number = len(called)
    texted = called[: int(scene.rng.integers(2, 20))]
    return [
        *_calls(scene, 8, 10, called, cell_id=_cells(scene, number)),
        *_calls(scene, 8, 10, called[: round(number * back / 3)], direction="mt"),
        *scene.sms(scene.within(8, 10 * HOUR_MS, len(texted)), texted),
    ]


def volunteer(scene: Scene) -> list[Event]:
    """40 to 80 calls from home on a club's behalf; three to twenty-five in a hundred call back."""
    size, back = traits(scene, 2)
    called = scene.strangers(int(between(40, 80, size)))
    returned = called[: round(len(called) * between(0.03, 0.25, back))]
    return [*_calls(scene, 17, 4, called), *_calls(scene, 17, 5, returned, direction="mt")]


def _calls(scene: Scene, hour: int, hours: int, called: list[str], **more: Any) -> list[Event]:
    """A short call with each of these numbers."""
    duration_ms = scene.rng.integers(40 * SECOND_MS, 180 * SECOND_MS, len(called))
    return scene.voice(
        scene.within(hour, hours * HOUR_MS, len(called)), called, duration_ms, **more
    )


def _cells(scene: Scene, number: int) -> list[str]:
    return scene.rng.choice(TOWN_CELLS, number).tolist()


# -- machine ------------------------------------------------------------------------------------


def meter(scene: Scene) -> list[Event]:
    """A report every 5 to 150 minutes, more or less on time and of one size; some by day only.

    One card in ten is also in use by people, who text.
    """
    period, jitter, spread, hours, shared = traits(scene, 5)
    first, last = (8.0, 20.0) if hours < OPENING_HOURS_SHARE else (0.0, 24.0)
    step_ms = MINUTE_MS * by_factors(5, 150, period)
    times = _steady(scene, first, last, step_ms, between(0, 0.2, jitter))
    sizes = 50_000 * scene.rng.uniform(1, between(1, 2.2, spread), len(times))
    events = scene.data(times, sizes.astype(np.int64), 4 * SECOND_MS)
    if shared < SHARED_CARD_SHARE:
        events += scene.sms(scene.within(8, 12 * HOUR_MS, 5), scene.friends(5))
    return events


def idle_tablet(scene: Scene) -> list[Event]:
    """An account that is fetched every 20 to 90 minutes, and up to eight sessions of a person."""
    period, jitter, evenings = traits(scene, 3)
    step_ms = MINUTE_MS * by_factors(20, 90, period)
    times = _steady(scene, 0, 24, step_ms, between(0.03, 0.5, jitter))
    sizes = scene.rng.lognormal(11, 1.2, len(times)).astype(np.int64)
    own = scene.within(17, 5 * HOUR_MS, int(9 * evenings))
    return [
        *scene.data(times, sizes, 4 * SECOND_MS),
        *scene.data(own, scene.rng.integers(MB, 90 * MB, len(own)), 20 * MINUTE_MS),
    ]


def lone_worker(scene: Scene) -> list[Event]:
    """A sign of life to the same number every half hour of a shift of twelve hours."""
    (jitter,) = traits(scene, 1)
    times = _steady(scene, 7, 19, 30 * MINUTE_MS, between(0.02, 0.3, jitter))
    return scene.sms(times, scene.player.friends[0])


def _steady(
    scene: Scene, first_hour: float, last_hour: float, step_ms: float, variation: float
) -> Ints:
    """Times whose gaps have this mean and coefficient of variation."""
    number = int(24 * HOUR_MS / step_ms) + 1
    gaps_ms = scene.rng.normal(step_ms, variation * step_ms, number).clip(SECOND_MS)
    times = scene.at(first_hour) + np.cumsum(gaps_ms).astype(np.int64)
    return times[times < scene.at(last_hour)]


# -- deviation ----------------------------------------------------------------------------------


def unlike_others(scene: Scene) -> list[Event]:
    """8 to 160 sessions or texts a day, or 4 to 23 hours of one session, beside the habits."""
    strength, way = traits(scene, 2)
    number = int(by_factors(8, 160, strength))
    times = scene.day.moments_ms(scene.rng, number)
    if way < 1 / 3:
        return scene.data(times, MB, 3 * MINUTE_MS)
    if way < 2 / 3:
        return scene.sms(times, scene.friends(number))
    return scene.data(scene.at(0.5), 50 * MB, int(by_factors(4, 23, strength) * HOUR_MS))


def enthusiast(scene: Scene) -> list[Event]:
    """Up to five sessions and four texts a day more than by habit."""
    sessions, texts = traits(scene, 2)
    first, second = (
        scene.day.moments_ms(scene.rng, number) for number in (int(6 * sessions), int(5 * texts))
    )
    return [
        *scene.data(first, 20 * MB, 30 * MINUTE_MS),
        *scene.sms(second, scene.friends(len(second))),
    ]


def talker(scene: Scene) -> list[Event]:
    """Two to ten calls a day and nothing else, where others hardly ever call."""
    (strength,) = traits(scene, 1)
    return _calls(scene, 8, 13, scene.friends(int(between(2, 11, strength))))


# -- monitoring ---------------------------------------------------------------------------------


def open_line(scene: Scene) -> list[Event]:
    """One and a half to seven hours, up to a quarter of them with others."""
    hours, others = traits(scene, 2)
    return _talk(scene, 9, between(1.5, 7, hours), between(0, 0.25, others), scene.player.friends)


def couple_apart(scene: Scene) -> list[Event]:
    """Half an hour to four and a half of an evening, up to half of it with others."""
    hours, others = traits(scene, 2)
    return _talk(scene, 18, between(0.5, 4.5, hours), between(0, 0.5, others), scene.player.friends)


def carer(scene: Scene) -> list[Event]:
    """Two to six hours with a parent and, for 15 to 50 in a hundred of it, one other."""
    hours, other = traits(scene, 2)
    share = between(0.15, 0.5, other)
    return _talk(scene, 10, between(2, 6, hours), share, scene.player.friends[:2])


def _talk(scene: Scene, hour: float, hours: float, others_share: float, circle: Any) -> list[Event]:
    """Calls with the first of a circle, and for a share of the time with the rest, mixed."""
    own_ms, others_ms = (hours * HOUR_MS * share for share in (1 - others_share, others_share))
    own, others = (int(ms / CALL_MS) + 1 for ms in (own_ms, others_ms))
    duration_ms = np.repeat([own_ms / own, others_ms / others], (own, others)).astype(np.int64)
    partners = [circle[0]] * own + np.resize(circle[1:], others).tolist()
    order = scene.rng.permutation(own + others)
    gap_ms = scene.rng.integers(MINUTE_MS, 3 * MINUTE_MS, own + others)
    times = one_after_another(scene.at(hour), duration_ms[order], gap_ms)
    return scene.voice(times, [partners[call] for call in order.tolist()], duration_ms[order])


# -- sharing ------------------------------------------------------------------------------------


def resold_hotspot(scene: Scene) -> list[Event]:
    """One to nine guests' devices on the SIM, all of them on each of the days."""
    (guests,) = traits(scene, 1)
    return _devices(scene, np.arange(int(between(1, 10, guests))))


def household(scene: Scene) -> list[Event]:
    """One to five devices beside the telephone, each in use on three days of five."""
    (gadgets,) = traits(scene, 1)
    used = scene.rng.random(int(between(1, 6, gadgets))) < 0.6
    return _devices(scene, np.flatnonzero(used))


def telephone_tester(scene: Scene) -> list[Event]:
    """The same SIM in three to eight telephones, on one day."""
    (telephones,) = traits(scene, 1)
    return _devices(scene, np.arange(int(between(3, 9, telephones))))


def _devices(scene: Scene, numbers: Ints) -> list[Event]:
    names = [f"{scene.player.customer_id}-device{number}" for number in numbers.tolist()]
    times = scene.within(8, 14 * HOUR_MS, len(names))
    return scene.data(times, 30 * MB, 20 * MINUTE_MS, device_fingerprint=names)


# -- sms_bulk -----------------------------------------------------------------------------------


def bulk_sender(scene: Scene) -> list[Event]:
    """30 to 300 strangers within the hour; up to fifteen in a hundred answer."""
    size, answered = traits(scene, 2)
    strangers = scene.strangers(int(between(30, 300, size)))
    return _round(scene, strangers, 55, between(0, 0.15, answered), delay_minutes=20)


def caller_to_meetings(scene: Scene) -> list[Event]:
    """The same 60 to 250 people each time, of whom three to eighty in a hundred answer."""
    size, answered, haste = traits(scene, 3)
    people = _people(scene, int(between(60, 250, size)))
    share = between(0.03, 0.8, answered)
    return _round(scene, people, between(15, 55, haste), share, delay_minutes=20)


def well_wisher(scene: Scene) -> list[Event]:
    """Greetings to 50 to 160 people within one to five hours; most answer soon."""
    size, answered, haste = traits(scene, 3)
    people = _people(scene, int(between(50, 160, size)))
    share = between(0.5, 0.95, answered)
    return _round(scene, people, between(60, 300, haste), share, delay_minutes=10)


def _people(scene: Scene, number: int) -> list[str]:
    """A circle of the player's own, always the same."""
    own = int(scene.player.customer_id) % 10_000
    return [f"3247{own:04d}{person:03d}" for person in range(number)]


def _round(
    scene: Scene, people: list[str], minutes: float, share: float, *, delay_minutes: int
) -> list[Event]:
    """A text to each, and the answers of a share of them after an exponential delay."""
    times = scene.within(16, int(minutes * MINUTE_MS), len(people))
    chosen = np.flatnonzero(scene.rng.random(len(people)) < share)
    delays_ms = scene.rng.exponential(delay_minutes * MINUTE_MS, len(chosen)).astype(np.int64)
    answers = np.minimum(times[chosen] + delays_ms, scene.day.end_ms - 1)
    answering = [people[person] for person in chosen.tolist()]
    return [*scene.sms(times, people), *scene.sms(answers, answering, direction="mt")]


# -- portscan_slow ------------------------------------------------------------------------------


def slow_scanner(scene: Scene) -> list[Event]:
    """8 to 120 hosts asked over half a day; up to four in ten answer.

    For each two of them the household makes up to one good contact of its own.
    """
    size, answered, household_share = traits(scene, 3)
    number = int(between(8, 120, size))
    good = int(number * household_share / 2)
    return [
        *_contacts(scene, number, 1 - between(0, 0.4, answered), port=8080),
        *_contacts(scene, good, 0, port=443),
    ]


def peer_to_peer(scene: Scene) -> list[Event]:
    """50 to 400 peers, of whom 50 to 95 in a hundred answer."""
    size, answered = traits(scene, 2)
    share = 1 - between(0.5, 0.95, answered)
    return _contacts(scene, int(by_factors(50, 400, size)), share, port=6881)


def outage(scene: Scene) -> list[Event]:
    """3 to 18 hosts tried in vain while something beyond the line is down."""
    (size,) = traits(scene, 1)
    return _contacts(scene, int(between(3, 19, size)), 1, port=443)


def _contacts(scene: Scene, number: int, failing: float, *, port: int) -> list[Event]:
    """First contacts with so many hosts over half a day, of which a share fails."""
    hosts = scene.rng.choice(HOSTS[FIRST_LIVING_HOST:], number, replace=False)
    times = scene.within(9, 12 * HOUR_MS, number)
    fails = scene.rng.random(number) < failing
    return [
        *scene.failed(times[fails], hosts[fails].tolist(), port),
        *scene.flow(times[~fails], hosts[~fails].tolist(), port),
    ]


# -- the table ----------------------------------------------------------------------------------


def graded_parts(players: int) -> tuple[Part, ...]:
    """Parts about each of the scored rules, each with so many players."""
    number = {"share": 0.0, "players_min": players}

    def abuser(rule: str, **more: Any) -> Part:
        return Part(name=f"graded_{rule}", must=(rule,), **number, **more)

    def look_alike(name: str, **more: Any) -> Part:
        return Part(name=name, **number, **more)

    week, fortnight, seldom = some_days_of_a_week(4, 7), stretch(14), some_days(1, 3)
    two = {"when": two_weeks, "needs": two_closed_weeks}
    fixed = {"plan": (PACK_UNLIMITED,)}
    return (
        abuser("gateway", play=sim_box, when=days_between(0, 7), mutes=EVERYTHING),
        look_alike("courier", play=courier, when=weekdays),
        look_alike("volunteer", play=volunteer, when=seldom),
        abuser("machine", play=meter, when=fortnight, mutes=EVERYTHING),
        look_alike("idle_tablet", play=idle_tablet, when=fortnight, mutes=EVERYTHING),
        look_alike("lone_worker", play=lone_worker, when=weekdays),
        abuser("deviation", play=unlike_others, **two),
        look_alike("enthusiast", play=enthusiast, may=(), **two),
        look_alike("talker", play=talker, mutes=("sms", "voice", "data"), may=(), **two),
        abuser("monitoring", play=open_line, when=week),
        look_alike("couple_apart", play=couple_apart, when=some_days_of_a_week(2, 6)),
        look_alike("carer", play=carer, when=week),
        abuser("sharing", play=resold_hotspot, when=week),
        look_alike("household", play=household),
        look_alike("telephone_tester", play=telephone_tester, when=some_days(1, 1)),
        abuser("sms_bulk", play=bulk_sender, when=seldom),
        look_alike("caller_to_meetings", play=caller_to_meetings, when=seldom),
        look_alike("well_wisher", play=well_wisher, when=some_days(1, 1)),
        abuser("portscan_slow", play=slow_scanner, when=seldom, **fixed),
        look_alike("peer_to_peer", play=peer_to_peer, when=weekends, **fixed),
        look_alike("outage", play=outage, when=seldom, **fixed),
    )
