"""The rules: one file each, folds over columns. They know no Kafka, no Faust and no clock."""

from detectors.data_monthly_ratio import DataMonthlyRatio
from detectors.inactive import Inactive
from detectors.portscan import Portscan
from detectors.rule import Rule
from detectors.sms_daily import SmsDaily
from detectors.sms_monthly import SmsMonthly
from detectors.storage_capacity import StorageCapacity
from detectors.stream_concurrent import StreamConcurrent
from detectors.stream_elsewhere import StreamElsewhere
from detectors.voice_daily import VoiceDaily

RULES: dict[str, type[Rule]] = {
    "sms_daily": SmsDaily,
    "sms_monthly": SmsMonthly,
    "voice_daily": VoiceDaily,
    "data_monthly_ratio": DataMonthlyRatio,
    "portscan": Portscan,
    "storage_capacity": StorageCapacity,
    "stream_concurrent": StreamConcurrent,
    "stream_elsewhere": StreamElsewhere,
    "inactive": Inactive,
}
"""Every rule by its id, which is its file name, metric label and policy table."""
