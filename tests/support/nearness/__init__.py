"""How near each customer of a played operator comes to each rule's limit, by the simplest counts.

Every function takes the operator's customers by id and the events in order of time, and gives the
largest share of the limit by customer: above 1 is a breach, 1 is just allowed.
"""

from streams.synthetic.generator import Operator, OperatorShape
from tests.support.nearness import data_and_all, flows, storage_and_television, texts_and_calls
from tests.support.nearness.counting import GB, HOUR_MS, day_of, month_of, week_of

SEED = 20_260_301

SHARES = {
    "sms_daily": texts_and_calls.texts_of(day_of, 350),
    "sms_monthly": texts_and_calls.texts_of(month_of, 10_000),
    "sms_group": texts_and_calls.sms_group,
    "sms_bulk": texts_and_calls.sms_bulk,
    "voice_daily": texts_and_calls.talk_of(day_of, 6 * HOUR_MS),
    "voice_weekly": texts_and_calls.talk_of(week_of, 30 * HOUR_MS),
    "voice_continuous": texts_and_calls.voice_continuous,
    "monitoring": texts_and_calls.monitoring,
    "gateway": texts_and_calls.gateway,
    "data_monthly_ratio": data_and_all.data_monthly_ratio,
    "usage_double": data_and_all.usage_double,
    "data_bundle": data_and_all.data_bundle,
    "spend_limit": data_and_all.spend_limit,
    "roaming_spend": data_and_all.roaming_spend,
    "roaming_volume": data_and_all.roaming_volume,
    "roaming_permanent": data_and_all.roaming_permanent,
    "sharing": data_and_all.sharing,
    "overload": data_and_all.overload,
    "machine": data_and_all.machine,
    "deviation": data_and_all.deviation,
    "inactive": data_and_all.inactive,
    "portscan": flows.portscan,
    "portscan_slow": flows.portscan_slow,
    "ddos": flows.ddos,
    "inbound_abuse": flows.inbound_abuse,
    "attack": flows.attack,
    "mail_spam": flows.mail_spam,
    "mail_bomb": flows.mail_bomb,
    "storage_capacity": storage_and_television.storage_capacity,
    "storage_file_size": storage_and_television.quantity("largest_file_bytes", 2 * GB),
    "storage_contacts": storage_and_television.quantity("contacts", 15_000),
    "storage_linked_items": storage_and_television.quantity("linked_items", 20_000),
    "storage_shared_items": storage_and_television.quantity("shared_items", 250),
    "storage_flood": storage_and_television.storage_flood,
    "storage_downgrade": storage_and_television.storage_downgrade,
    "storage_ended": storage_and_television.storage_ended,
    "stream_devices": storage_and_television.stream_devices,
    "stream_concurrent": storage_and_television.stream_concurrent,
    "stream_elsewhere": storage_and_television.stream_elsewhere,
}


class Played:
    """An operator with all its events, and each rule's shares once they are asked for."""

    def __init__(self, keep=lambda _event: True, **shape):
        print(f"OperatorShape(seed={SEED}, **{shape})")
        self.operator = Operator(OperatorShape(seed=SEED, **shape))
        self.events = [event for day in self.operator.days() for event in day if keep(event)]
        self.customers = {c.customer_id: c for c in self.operator.customers()}
        self._shares = {}

    def shares(self, rule):
        if rule not in self._shares:
            self._shares[rule] = SHARES[rule](self.customers, self.events)
        return self._shares[rule]

    def breakers(self, rule):
        return {customer for customer, share in self.shares(rule).items() if share > 1}
