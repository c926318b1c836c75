"""The rules: one file each, folds over columns. They know no Kafka, no Faust and no clock."""

from detectors.data_bundle import DataBundle
from detectors.data_monthly_ratio import DataMonthlyRatio
from detectors.overload import Overload
from detectors.portscan import Portscan
from detectors.roaming_permanent import RoamingPermanent
from detectors.roaming_volume import RoamingVolume
from detectors.rule import Rule
from detectors.sms_daily import SmsDaily
from detectors.sms_monthly import SmsMonthly
from detectors.storage_capacity import StorageCapacity
from detectors.usage_double import UsageDouble
from detectors.voice_daily import VoiceDaily

RULES: dict[str, type[Rule]] = {
    "sms_daily": SmsDaily,
    "sms_monthly": SmsMonthly,
    "voice_daily": VoiceDaily,
    "data_monthly_ratio": DataMonthlyRatio,
    "portscan": Portscan,
    "storage_capacity": StorageCapacity,
    "data_bundle": DataBundle,
    "roaming_volume": RoamingVolume,
    "overload": Overload,
    "usage_double": UsageDouble,
    "roaming_permanent": RoamingPermanent,
}
"""Every rule by its id, which is its file name, metric label and policy table."""
