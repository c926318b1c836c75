"""Devices of a SIM in a local day."""

from zoneinfo import ZoneInfo

from schemas.events import Data
from tests.support.reference import naive
from tests.support.strategies.drawing import DAY_MS, choices, events_of

LOW = {"devices": 2, "regular_periods": 2, "regular_window": 3, "retention_periods": 2}


class Twin(naive.Distinct):
    """A set of devices for each customer and day."""

    name, reads, kind = "sharing", ("data",), "day"
    limit_counts = True

    def __init__(self, policy, plans):
        self.parameters = parameters = policy.rules[self.name]
        days = naive.Days(ZoneInfo(policy.timezone))
        super().__init__(days, {"day": (days, 0)}, parameters.retention_periods)
        self.breaches = {}
        self.regular = set()

    def touched(self, event):
        device = event.device_fingerprint
        device = event.served_imei if device is None else device
        if device is not None:
            yield "day", "all", device, self.parameters.devices

    def told(self, event, found):
        yield found
        who, window = event.customer_id, self.parameters.regular_window
        breaches = self.breaches.setdefault(who, {})
        breaches[self.periods.of(found.start_ms)] = found
        for last in sorted(breaches):
            company = [day for day in breaches if last - window < day <= last]
            if len(company) >= self.parameters.regular_periods and (who, last) not in self.regular:
                self.regular.add((who, last))
                yield breaches[last]._replace(level="regular", event_time_ms=event.event_time_ms)


SESSIONS = choices(
    device_fingerprint=(None, "laptop", "tablet", ""),
    served_imei=(None, "350000000000001", "350000000000002"),
)

CASES = {
    "days": ({}, events_of(Data, SESSIONS, DAY_MS, bytes_uplink=0, bytes_downlink=1)),
    "three_devices": (
        {"devices": 3, "regular_periods": 1, "regular_window": 1},
        events_of(Data, SESSIONS, DAY_MS // 3, bytes_uplink=0, bytes_downlink=1),
    ),
}
