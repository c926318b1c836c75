"""The plans that the synthetic operator sells."""

from schemas.records import Customer
from schemas.units import EURO, GB

MOBILE_UNLIMITED, PACK_UNLIMITED, BUSINESS, MOBILE_BUNDLE, MOBILE_START = range(5)
PLAN_SHARES = (0.52, 0.22, 0.08, 0.10, 0.08)
SPENT, SPENT_ABROAD = 100 * EURO, 50 * EURO
"""What every plan allows to be charged in a month, at all and abroad."""

PLANS = (
    Customer(
        customer_id="plan",
        plan="mobile-unlimited",
        unlimited=["sms", "voice", "data"],
        roaming_bundle_bytes=30 * GB,
        storage_capacity_bytes=32 * GB,
        spend_limit_microeur=SPENT,
        roaming_spend_limit_microeur=SPENT_ABROAD,
    ),
    Customer(
        customer_id="plan",
        plan="pack-unlimited",
        unlimited=["sms", "voice", "data"],
        roaming_bundle_bytes=30 * GB,
        stream_devices=5,
        stream_concurrent=2,
        access="fixed",
        spend_limit_microeur=SPENT,
        roaming_spend_limit_microeur=SPENT_ABROAD,
    ),
    Customer(
        customer_id="plan",
        plan="business-unlimited",
        unlimited=["sms", "voice", "data"],
        segment="professional",
        roaming_bundle_bytes=50 * GB,
        storage_capacity_bytes=32 * GB,
        spend_limit_microeur=SPENT,
        roaming_spend_limit_microeur=SPENT_ABROAD,
    ),
    Customer(
        customer_id="plan",
        plan="mobile-10gb",
        unlimited=["sms", "voice"],
        data_bundle_bytes=10 * GB,
        storage_capacity_bytes=GB,
        spend_limit_microeur=SPENT,
        roaming_spend_limit_microeur=SPENT_ABROAD,
    ),
    Customer(
        customer_id="plan",
        plan="mobile-start",
        data_bundle_bytes=2 * GB,
        storage_capacity_bytes=GB,
        spend_limit_microeur=SPENT,
        roaming_spend_limit_microeur=SPENT_ABROAD,
    ),
)
