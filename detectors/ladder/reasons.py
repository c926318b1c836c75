"""The reason of an action: one sentence that a customer-care agent can read out."""

from detectors.rules.registry import UNITS
from schemas.amounts import BYTES
from schemas.records import ActionKind, Finding

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
    "cut_data": "your mobile data is stopped until you agree to go on, or until the month ends",
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
    is_unlimited = finding.unit == BYTES.name and finding.limit < 0
    observed, limit = _amounts(finding)
    seen = NO_LIMIT if is_unlimited else UNITS[finding.unit].seen
    seen = seen.format(observed=observed, limit=limit)
    regularly = "regularly " if finding.level == "regular" else ""
    when = WHEN.get(finding.window.kind)
    seen = f"{seen} {when}" if when else seen
    return f"We {regularly}saw {seen}: {CONSEQUENCE[kind]}."


def _amounts(finding: Finding) -> tuple[str, str]:
    """The observed amount and the limit in words, distinguishable where they round to the same."""
    unit = UNITS[finding.unit]
    observed, limit = unit.number(finding.observed), unit.number(finding.limit)
    is_above = finding.observed > finding.limit
    return f"more than {limit}" if is_above and observed == limit else observed, limit
