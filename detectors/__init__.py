"""The rules: one file each, folds over columns. They know no Kafka, no Faust and no clock."""

from detectors.attack import Attack
from detectors.data_bundle import DataBundle
from detectors.data_monthly_ratio import DataMonthlyRatio
from detectors.ddos import Ddos
from detectors.deviation import Deviation
from detectors.gateway import Gateway
from detectors.inactive import Inactive
from detectors.inbound_abuse import InboundAbuse
from detectors.machine import Machine
from detectors.mail_bomb import MailBomb
from detectors.mail_spam import MailSpam
from detectors.monitoring import Monitoring
from detectors.overload import Overload
from detectors.portscan import Portscan
from detectors.portscan_slow import PortscanSlow
from detectors.roaming_permanent import RoamingPermanent
from detectors.roaming_volume import RoamingVolume
from detectors.rule import Rule
from detectors.sharing import Sharing
from detectors.sms_bulk import SmsBulk
from detectors.sms_daily import SmsDaily
from detectors.sms_group import SmsGroup
from detectors.sms_monthly import SmsMonthly
from detectors.storage_capacity import StorageCapacity
from detectors.storage_contacts import StorageContacts
from detectors.storage_downgrade import StorageDowngrade
from detectors.storage_ended import StorageEnded
from detectors.storage_file_size import StorageFileSize
from detectors.storage_flood import StorageFlood
from detectors.storage_linked_items import StorageLinkedItems
from detectors.storage_shared_items import StorageSharedItems
from detectors.stream_concurrent import StreamConcurrent
from detectors.stream_devices import StreamDevices
from detectors.stream_elsewhere import StreamElsewhere
from detectors.usage_double import UsageDouble
from detectors.voice_continuous import VoiceContinuous
from detectors.voice_daily import VoiceDaily
from detectors.voice_weekly import VoiceWeekly

RULES: dict[str, type[Rule]] = {
    "sms_daily": SmsDaily,
    "sms_monthly": SmsMonthly,
    "voice_daily": VoiceDaily,
    "data_monthly_ratio": DataMonthlyRatio,
    "portscan": Portscan,
    "storage_capacity": StorageCapacity,
    "voice_weekly": VoiceWeekly,
    "voice_continuous": VoiceContinuous,
    "storage_file_size": StorageFileSize,
    "storage_contacts": StorageContacts,
    "storage_linked_items": StorageLinkedItems,
    "storage_shared_items": StorageSharedItems,
    "storage_flood": StorageFlood,
    "storage_downgrade": StorageDowngrade,
    "sms_group": SmsGroup,
    "mail_spam": MailSpam,
    "sharing": Sharing,
    "stream_devices": StreamDevices,
    "sms_bulk": SmsBulk,
    "data_bundle": DataBundle,
    "roaming_volume": RoamingVolume,
    "overload": Overload,
    "usage_double": UsageDouble,
    "roaming_permanent": RoamingPermanent,
    "storage_ended": StorageEnded,
    "stream_concurrent": StreamConcurrent,
    "stream_elsewhere": StreamElsewhere,
    "inactive": Inactive,
    "monitoring": Monitoring,
    "gateway": Gateway,
    "machine": Machine,
    "deviation": Deviation,
    "ddos": Ddos,
    "portscan_slow": PortscanSlow,
    "attack": Attack,
    "inbound_abuse": InboundAbuse,
    "mail_bomb": MailBomb,
}
"""Every rule by its id, which is its file name, metric label and policy table."""
