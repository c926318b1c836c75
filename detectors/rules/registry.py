"""All rules, each from its own file, in the order in which they run."""

from detectors.rules.attack import Attack
from detectors.rules.contract import Rule
from detectors.rules.data_bundle import DataBundle
from detectors.rules.data_monthly_ratio import DataMonthlyRatio
from detectors.rules.ddos import Ddos
from detectors.rules.deviation import Deviation
from detectors.rules.gateway import Gateway
from detectors.rules.inactive import Inactive
from detectors.rules.inbound_abuse import InboundAbuse
from detectors.rules.machine import Machine
from detectors.rules.mail_bomb import MailBomb
from detectors.rules.mail_spam import MailSpam
from detectors.rules.monitoring import Monitoring
from detectors.rules.overload import Overload
from detectors.rules.portscan import Portscan
from detectors.rules.portscan_slow import PortscanSlow
from detectors.rules.roaming_permanent import RoamingPermanent
from detectors.rules.roaming_volume import RoamingVolume
from detectors.rules.sharing import Sharing
from detectors.rules.sms_bulk import SmsBulk
from detectors.rules.sms_daily import SmsDaily
from detectors.rules.sms_group import SmsGroup
from detectors.rules.sms_monthly import SmsMonthly
from detectors.rules.storage_capacity import StorageCapacity
from detectors.rules.storage_contacts import StorageContacts
from detectors.rules.storage_downgrade import StorageDowngrade
from detectors.rules.storage_ended import StorageEnded
from detectors.rules.storage_file_size import StorageFileSize
from detectors.rules.storage_flood import StorageFlood
from detectors.rules.storage_linked_items import StorageLinkedItems
from detectors.rules.storage_shared_items import StorageSharedItems
from detectors.rules.stream_concurrent import StreamConcurrent
from detectors.rules.stream_devices import StreamDevices
from detectors.rules.stream_elsewhere import StreamElsewhere
from detectors.rules.usage_double import UsageDouble
from detectors.rules.voice_continuous import VoiceContinuous
from detectors.rules.voice_daily import VoiceDaily
from detectors.rules.voice_weekly import VoiceWeekly

RULES: dict[str, type[Rule]] = {
    rule.name: rule
    for rule in (
        SmsDaily,
        SmsMonthly,
        VoiceDaily,
        DataMonthlyRatio,
        Portscan,
        StorageCapacity,
        VoiceWeekly,
        VoiceContinuous,
        StorageFileSize,
        StorageContacts,
        StorageLinkedItems,
        StorageSharedItems,
        StorageFlood,
        StorageDowngrade,
        SmsGroup,
        MailSpam,
        Sharing,
        StreamDevices,
        SmsBulk,
        DataBundle,
        RoamingVolume,
        Overload,
        UsageDouble,
        RoamingPermanent,
        StorageEnded,
        StreamConcurrent,
        StreamElsewhere,
        Inactive,
        Monitoring,
        Gateway,
        Machine,
        Deviation,
        Ddos,
        PortscanSlow,
        Attack,
        InboundAbuse,
        MailBomb,
    )
}
"""Every rule by its id, which is its file name, metric label and policy table."""

UNITS = {unit.name: unit for rule in RULES.values() for unit in rule.declaration.units}
"""Every unit of a finding, by its name."""
