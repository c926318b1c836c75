"""What an action says to the customer: one sentence that a customer-care agent can read out."""

from schemas.records import ActionKind, Finding

WHAT = {
    "messages": "{observed} messages sent where {limit} are allowed",
    "ms": "{observed} hours of calls where {limit} are allowed",
    "bytes": "{observed} GB where the limit is {limit} GB",
    "per mille with one number": "hours of calls, {observed} % of them with one number",
    "ports": "connection attempts to {observed} ports of one computer within minutes",
    "hosts": "connection attempts to {observed} computers on one port within minutes",
    "linked_items": "{observed} linked items where the limit is {limit}",
    "shared_items": "{observed} shared files or folders where the limit is {limit}",
    "recipients": "messages to {observed} recipients at a time where {limit} are allowed",
    "servers": "mail sent straight to {observed} mail servers",
    "kilobytes": "{observed} MB within minutes where the network bears {limit} MB",
    "per_mille_abroad": "{observed} % of use abroad or more, month after month",
    "devices": "use on {observed} different devices",
    "devices at once": "{observed} devices watching at the same moment where {limit} may",
    "per mille of viewing away from home": "{observed} % of the viewing away from home",
    "months without use": "no use at all for {observed} months",
    "gateway per mille": "calls that look as if a gateway made them for others",
    "machine per mille": "use that looks like that of a machine",
    "deviation per mille": "use that is far from that of other customers",
    "attempts": "{observed} short connections to one login port within minutes",
    "targets": "short connections to login ports of {observed} computers within minutes",
    "large_transfers": "{observed} large transfers to one mail server within an hour",
    "packets_per_minute": "{observed} packets to one address in a minute, two minutes running",
    "flows_per_minute": "{observed} connections to one address in a minute, two minutes running",
    "syn_flows_per_minute": "{observed} connection attempts to one address that nobody answered in "
    "a minute, two minutes running",
    "failed_flows_per_minute": "a part in {observed} unanswered requests to one address in a "
    "minute, two minutes running",
    "log_likelihood_ratio_millionths": "connection attempts to one computer after another, most of "
    "which did not answer",
}
"""By the unit of what was observed."""

LARGER = {
    "ms": (3_600_000, 1),
    "bytes": (1e9, 2),
    "kilobytes": (1e3, 0),
    "per mille with one number": (10, 0),
    "per_mille_abroad": (10, 0),
    "per mille of viewing away from home": (10, 0),
}
"""How many of a unit one of the told unit holds, and with how many digits it is told."""

ANYTHING = "{observed} {unit} where the limit is {limit}"
NO_LIMIT = "{observed} GB stored, and your plan has no limit"

CAME_BACK = "A restriction that is over was applied again; it is lifted once more."

WHEN = {
    "day": "in one day",
    "week": "in one week",
    "month": "in one month",
    "chain": "in calls that followed each other without a break",
}

CONSEQUENCE: dict[ActionKind, str] = {
    "notify": "please bring your use back within the fair-use terms",
    "throttle": "your speed is reduced",
    "minimum_service": "your service is reduced to the minimum service",
    "convert_prepaid": "your subscription becomes a prepaid one",
    "deposit": "we ask for an advance on your next bill",
    "charge": "the use beyond your plan is charged",
    "restrict_storage": "uploading and sharing are stopped; you can still read and download",
    "delete_storage": "the stored data will be deleted",
    "suspend": "your service is suspended as long as the cause lasts",
    "propose_termination": "we look into ending your contract",
    "reclaim_number": "the number will be taken back",
    "report_upstream": "we report it to the network it came from; you need not do anything",
    "release": "the cause is gone and every restriction for it is lifted",
    "withdraw": "a record was corrected, so this no longer stands and what followed is undone",
}


def reason(kind: ActionKind, finding: Finding) -> str:
    """One sentence for an action that follows from a finding."""
    is_unlimited = finding.unit == "bytes" and finding.limit < 0
    observed, limit = _amounts(finding)
    what = NO_LIMIT if is_unlimited else WHAT.get(finding.unit, ANYTHING)
    what = what.format(observed=observed, limit=limit, unit=finding.unit)
    regularly = "regularly " if finding.level == "regular" else ""
    when = WHEN.get(finding.window.kind)
    what = f"{what} {when}" if when else what
    return f"We {regularly}saw {what}: {CONSEQUENCE[kind]}."


def _amounts(finding: Finding) -> tuple[str, str]:
    """What was observed, and the limit, as they are told; told apart where both round alike."""
    if finding.unit not in LARGER:
        return str(finding.observed), str(finding.limit)
    unit, digits = LARGER[finding.unit]
    observed = f"{finding.observed / unit:,.{digits}f}"
    limit = f"{finding.limit / unit:,.{digits}f}"
    is_above = finding.observed > finding.limit
    return f"more than {limit}" if is_above and observed == limit else observed, limit
