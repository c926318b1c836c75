"""Parts in cloud storage: a snapshot each day, with a quantity that rises and may fall again."""

from schemas.events import Event
from schemas.units import GB
from streams.synthetic.parts.scene import Scene

FILE_MAX, CONTACTS_MAX, LINKED_MAX, SHARED_MAX = 2 * GB, 15_000, 20_000, 250
WRITTEN_BYTES = 300 * GB
LARGER_PLAN_BYTES = 32 * GB
CHANGE_DAY = 2
"""Day from which contracts have ended, or plans are smaller."""


def storage_capacity(scene: Scene) -> list[Event]:
    """More bytes than the plan's capacity."""
    return scene.storage(used_bytes=_rising(scene, scene.player.capacity_bytes))


def storage_file_size(scene: Scene) -> list[Event]:
    """A file of more than 2 GB."""
    return scene.storage(largest_file_bytes=_rising(scene, FILE_MAX))


def storage_contacts(scene: Scene) -> list[Event]:
    """More than 15,000 contacts."""
    return scene.storage(contacts=_rising(scene, CONTACTS_MAX))


def storage_linked_items(scene: Scene) -> list[Event]:
    """More than 20,000 linked items."""
    return scene.storage(linked_items=_rising(scene, LINKED_MAX))


def storage_shared_items(scene: Scene) -> list[Event]:
    """More than 250 shared files or folders."""
    return scene.storage(shared_items=_rising(scene, SHARED_MAX))


def full_storage(scene: Scene) -> list[Event]:
    """The highest allowed amounts, and 99 % of the capacity."""
    return scene.storage(
        used_bytes=scene.player.capacity_bytes * 99 // 100,
        largest_file_bytes=FILE_MAX,
        contacts=CONTACTS_MAX,
        linked_items=LINKED_MAX,
        shared_items=SHARED_MAX,
    )


def storage_flood(scene: Scene) -> list[Event]:
    """A day on which hundreds of gigabytes are written over and over."""
    return scene.storage(written_bytes=WRITTEN_BYTES)


def storage_downgrade(scene: Scene) -> list[Event]:
    """A smaller plan; the surplus is never deleted, or only after some weeks."""
    is_back = scene.player.rank % 2 == 0 and scene.act > 3 * scene.acts // 4 > CHANGE_DAY
    return _of_smaller_plan(scene, GB // 2 if is_back else 20 * GB)


def tidy_downgrader(scene: Scene) -> list[Event]:
    """A smaller plan; the surplus was deleted the day before."""
    return _of_smaller_plan(scene, 20 * GB if scene.act < CHANGE_DAY - 1 else GB // 2)


def _of_smaller_plan(scene: Scene, used_bytes: int) -> list[Event]:
    """A snapshot that states the capacity of its day."""
    capacity = LARGER_PLAN_BYTES if scene.act < CHANGE_DAY else scene.player.capacity_bytes
    return scene.storage(used_bytes=used_bytes, written_bytes=0, capacity_bytes=capacity)


def storage_ended(scene: Scene) -> list[Event]:
    """The contract has ended; nothing is deleted."""
    return scene.storage(used_bytes=10 * GB, written_bytes=0)


def tidy_leaver(scene: Scene) -> list[Event]:
    """The contract has ended; everything is deleted within three weeks."""
    nothing = dict.fromkeys(("largest_file_bytes", "contacts", "linked_items", "shared_items"), 0)
    if scene.act < CHANGE_DAY + 20:
        return scene.storage(used_bytes=10 * GB, written_bytes=0)
    return scene.storage(used_bytes=0, written_bytes=0, **nothing)


def _rising(scene: Scene, limit: int) -> int:
    """An amount that rises above a limit; for every second player it falls to 100 or 80 % again."""
    above, back = scene.acts // 4, max(3 * scene.acts // 4, 1)
    rank, day = scene.player.rank, scene.act
    if day < above:
        return limit * 7 // 10 + limit * day // (4 * above)
    if day < back or rank % 2 == 1:
        return limit * (106 + 10 * (rank % 5)) // 100
    return limit if rank % 4 == 0 else limit * 8 // 10
