"""Names of the Kafka topics (the contract's table of topics)."""

from schemas.events import USAGE_KINDS

USAGE_PREFIX = "usage."
USAGE_TOPICS = tuple(USAGE_PREFIX + kind for kind in USAGE_KINDS)

CUSTOMERS = "customers"
POLICIES = "policies"
ENFORCEMENT_RESULTS = "enforcement.results"
DECISIONS = "decisions"
FINDINGS = "findings"
ACTIONS = "actions"
DEAD_LETTERS = "dead-letters"
COHORT_AVERAGES = "cohort-averages"
