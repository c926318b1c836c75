"""The default policy has the contract's numbers; mistakes are reported with line and remedy."""

import re
import tomllib

import pytest

from detectors.fold.partition import Partition
from detectors.policies.editions import KNOWN_RULES, default_policy_path, load_policy
from detectors.rules.registry import RULES
from schemas.policy import PolicyError, read_policy
from schemas.toml_lines import line_of as found_line_of
from schemas.units import HOUR_MS

GB = 10**9
DOCUMENT = default_policy_path().read_text(encoding="utf-8")
LINES = DOCUMENT.splitlines()
LADDER = DOCUMENT[DOCUMENT.index("[ladder]") : DOCUMENT.index("[rules.")]

ROLLING = 'window = "rolling"\nlength_seconds = 86_400\nstep_seconds = 3_600\n'


def mistakes_of(document):
    with pytest.raises(PolicyError) as caught:
        read_policy(document, KNOWN_RULES)
    return caught.value.mistakes


def changed(*changes):
    """The default document with lines replaced: (table, line as it begins, replacement)."""
    document = DOCUMENT
    for table, line, replacement in changes:
        start = document.index(f"[{table}]") if table else 0
        before, after = document[:start], document[start:]
        line_there = re.compile(rf"^{re.escape(line)}.*$", re.MULTILINE)
        assert line_there.search(after), f"no line {line} to change"
        after = line_there.sub(lambda _, text=replacement: text, after, count=1)
        document = before + after
    return document


def line_of(document, text):
    """Number of the only line that begins with this text."""
    found = [n for n, line in enumerate(document.splitlines(), 1) if line.startswith(text)]
    assert len(found) == 1, f"{text} stands on lines {found}"
    return found[0]


def test_the_default_policy_holds_the_numbers_of_the_contract():
    """The numbers of the rule table; changing one changes what customers are held to."""
    policy = load_policy()
    rules = policy.rules

    assert (
        policy.name,
        policy.timezone,
        policy.dedup_window_hours,
    ) == ("default", "Europe/Brussels", 24)
    assert (policy.ladder.notice_days, policy.ladder.memory_days) == (3, 90)
    assert policy.default_plan.storage_capacity_bytes == GB

    assert (
        rules["sms_daily"].limit,
        rules["sms_daily"].regular_periods,
        rules["sms_daily"].applies_to,
    ) == (350, None, "unlimited")
    assert (
        rules["sms_monthly"].limit,
        rules["sms_monthly"].regular_periods,
        rules["sms_monthly"].applies_to,
    ) == (10_000, None, "unlimited")
    voice = rules["voice_daily"]
    assert (
        voice.limit_ms,
        voice.regular_periods,
        voice.regular_window,
        voice.applies_to,
    ) == (6 * HOUR_MS, 3, 7, "all")
    ratio = rules["data_monthly_ratio"]
    assert (
        ratio.ratio,
        ratio.regular_periods,
        ratio.regular_window,
        ratio.cohort_min,
        ratio.lateness_hours,
    ) == (10, 2, 3, 100, 48)
    scan = rules["portscan"]
    assert (
        scan.vertical_ports,
        scan.horizontal_hosts,
        scan.length_seconds,
        scan.step_seconds,
    ) == (15, 25, 300, 30)


def test_the_default_policy_holds_the_limits_of_storage():
    rules = load_policy().rules
    assert [
        rules["storage_file_size"].limit,
        rules["storage_contacts"].limit,
        rules["storage_linked_items"].limit,
        rules["storage_shared_items"].limit,
    ] == [2 * GB, 15_000, 20_000, 250]
    flood = rules["storage_flood"]
    assert (flood.ratio, flood.cohort_min, flood.lateness_hours) == (10, 100, 48)
    ended = rules["storage_ended"]
    assert (ended.readable_days, ended.human_review) == (30, True)


@pytest.mark.parametrize(
    ("rule", "clause", "service", "restriction", "rate_kbps", "at_once"),
    [
        ("sms_daily", "base-mobile 6.3.3(ii)", "sms", "minimum_service", None, False),
        ("sms_monthly", "base-mobile 6.3.3(ii)", "sms", "minimum_service", None, False),
        ("voice_daily", "base-mobile 6.3.3(iii)", "voice", "minimum_service", None, False),
        ("voice_weekly", "base-mobile 6.3.3(iii)", "voice", "minimum_service", None, False),
        ("voice_continuous", "base-mobile 6.3.3(iii)", "voice", "minimum_service", None, False),
        ("monitoring", "base-mobile 6.3.1(viii)", "voice", "minimum_service", None, False),
        ("data_monthly_ratio", "base-mobile 6.3.3(i)", "data", "throttle", 128, False),
        ("portscan", "base-internet/aup 2", "internet", "throttle", 256, True),
        ("storage_capacity", "base-cloud 3.10, 3.13", "storage", "restrict_storage", None, False),
        ("storage_file_size", "base-cloud 3.11", "storage", "restrict_storage", None, False),
        ("storage_contacts", "base-cloud 3.11", "storage", "restrict_storage", None, False),
        ("storage_linked_items", "base-cloud 3.11", "storage", "restrict_storage", None, False),
        ("storage_shared_items", "base-cloud 3.11", "storage", "restrict_storage", None, False),
        ("storage_flood", "base-cloud 3.1", "storage", "restrict_storage", None, False),
        ("storage_downgrade", "proximus-cloud 14", "storage", "restrict_storage", None, False),
        (
            *("storage_ended", "proximus-cloud 15; base-cloud 5.5"),
            *("storage", "delete_storage", None, False),
        ),
    ],
)
def test_the_default_policy_names_clause_and_consequence(
    rule, clause, service, restriction, rate_kbps, at_once
):
    """The clause that an action cites, and the restriction that follows."""
    parameters = load_policy().rules[rule]
    assert (clause, service, restriction, rate_kbps, at_once) == (
        parameters.clause,
        parameters.service,
        parameters.restriction,
        parameters.rate_kbps,
        parameters.at_once,
    )


def test_the_default_policy_has_every_rule():
    """A rule without parameters would never run."""
    assert list(RULES) == list(load_policy().rules)


MISTAKES = {
    "not TOML": (
        changed(("", "timezone", "timezone = ")),
        "timezone",
        ("document", "not TOML", "mend it"),
    ),
    "not TOML at the end": (
        DOCUMENT + "clause = 'open\n",
        "clause = 'open",
        ("document", "not TOML", "mend it"),
    ),
    "unknown key": (
        changed(("ladder", "notice_days", "notice_days = 3\nnotice_hours = 2")),
        "notice_hours",
        ("ladder.notice_hours", "unknown", "did you mean `notice_days`?"),
    ),
    "unknown key of a rule": (
        changed(("rules.portscan", "step_seconds", "step_seconds = 30\nstep_second = 2")),
        "step_second =",
        ("rules.portscan.step_second", "unknown", "did you mean `step_seconds`?"),
    ),
    "unknown table": (
        DOCUMENT + "[limits]\nactions_per_hour = 3\n",
        "[limits]",
        ("limits", "unknown", "choose from"),
    ),
    "unknown rule": (
        changed(("rules.sms_daily", "[rules.sms_daily]", "[rules.sms_dayly]")),
        "[rules.sms_dayly]",
        ("rules.sms_dayly", "no such rule", "did you mean `sms_daily`?"),
    ),
    "unknown rule in quotes": (
        changed(("rules.sms_daily", "[rules.sms_daily]", '[ rules . "fax" ]')),
        "[ rules",
        ("rules.fax", "no such rule", "choose from attack, "),
    ),
    "rule that is no table": (
        changed(
            ("rules.storage_capacity", "[rules.storage_capacity]", "[rules]\nstorage_capacity = 1")
        ).split('clause = "base-cloud')[0],
        "storage_capacity = 1",
        ("rules.storage_capacity", "not a table", "make it one"),
    ),
    "table that is none": (
        changed(("", "timezone", 'timezone = "Europe/Brussels"\nladder = 3')).replace(LADDER, ""),
        "ladder = 3",
        ("ladder", "Expected `object`", "give a value it allows"),
    ),
    "missing key": (
        changed(("rules.sms_monthly", "limit", "")),
        "[rules.sms_monthly]",
        ("rules.sms_monthly.limit", "missing", "add a line `limit = ...`"),
    ),
    "missing key at the top": (
        changed(("", "name", "")),
        LINES[0],
        ("name", "missing", "add a line `name = ...`"),
    ),
    "missing table": (
        DOCUMENT.replace(LADDER, ""),
        LINES[0],
        ("ladder", "missing", "add a table [ladder]"),
    ),
    "wrong type": (
        changed(("rules.sms_monthly", "limit", 'limit = "many"')),
        'limit = "many"',
        ("rules.sms_monthly.limit", "Expected `int`, got `str`", "give a value it allows"),
    ),
    "out of range": (
        changed(("rules.voice_daily", "limit_ms", "limit_ms = -1")),
        "limit_ms = -1",
        ("rules.voice_daily.limit_ms", "Expected `int` >= 0", "give a value it allows"),
    ),
    "more than a cell holds": (
        changed(("rules.voice_daily", "limit_ms", "limit_ms = 4_294_967_295")),
        "limit_ms = 4_294_967_295",
        ("rules.voice_daily.limit_ms", "<= 4294967294", "give a value it allows"),
    ),
    "unknown choice": (
        changed(("rules.voice_daily", "service", 'service = "fax"')),
        'service = "fax"',
        ("rules.voice_daily.service", "'fax'", "give a value it allows"),
    ),
    "unknown zone": (
        changed(("", "timezone", 'timezone = "Europe/Brussel"')),
        "timezone",
        ("timezone", "no zone 'Europe/Brussel'", "name one like Europe/Brussels"),
    ),
    "zone that is a path": (
        changed(("", "timezone", 'timezone = "../etc/passwd"')),
        "timezone",
        ("timezone", "no zone", "name one like Europe/Brussels"),
    ),
    "no rules": (
        DOCUMENT.split("[rules.")[0],
        LINES[0],
        ("rules", "no rule is given", "add a table such as [rules.sms_daily]"),
    ),
    "length without rolling": (
        changed(("rules.sms_daily", "limit", "limit = 350\nlength_seconds = 60")),
        "[rules.sms_daily]",
        ("rules.sms_daily", "go with `window", "change what it names"),
    ),
    "rolling without length": (
        changed(("rules.sms_daily", "limit", 'limit = 350\nwindow = "rolling"')),
        "[rules.sms_daily]",
        ("rules.sms_daily", "go with `window", "change what it names"),
    ),
    "rolling by uneven steps": (
        changed(("rules.sms_daily", "limit", ROLLING.replace("3_600", "3_601") + "limit = 1")),
        "[rules.sms_daily]",
        ("rules.sms_daily", "multiple of `step_seconds`", "change what it names"),
    ),
    "rolling and regular": (
        changed(("rules.voice_daily", "limit_ms", ROLLING + "limit_ms = 1")),
        "[rules.voice_daily]",
        ("rules.voice_daily", '`window = "calendar"`', "change what it names"),
    ),
    "rolling by too many steps": (
        changed(("rules.sms_daily", "limit", ROLLING.replace("3_600", "1") + "limit = 1")),
        "[rules.sms_daily]",
        ("rules.sms_daily", "more than 4096 periods", "change what it names"),
    ),
    "half of regular": (
        changed(("rules.voice_daily", "regular_window", "")),
        "[rules.voice_daily]",
        ("rules.voice_daily", "go together", "change what it names"),
    ),
    "regular more often than there are periods": (
        changed(("rules.voice_daily", "regular_periods", "regular_periods = 8")),
        "[rules.voice_daily]",
        ("rules.voice_daily", "can't be more than `regular_window`", "change what it names"),
    ),
    "regular more often than there are months": (
        changed(("rules.data_monthly_ratio", "regular_periods", "regular_periods = 4")),
        "[rules.data_monthly_ratio]",
        ("rules.data_monthly_ratio", "can't be more than `regular_window`", "change what it"),
    ),
    "months without end": (
        changed(("rules.data_monthly_ratio", "retention_periods", "retention_periods = 1_200")),
        "[rules.data_monthly_ratio]",
        ("rules.data_monthly_ratio", "more than 120 months", "change what it names"),
    ),
    "ratio without end": (
        changed(("rules.data_monthly_ratio", "ratio", "ratio = inf")),
        "[rules.data_monthly_ratio]",
        ("rules.data_monthly_ratio", "finite", "change what it names"),
    ),
    "window of broken steps": (
        changed(("rules.portscan", "step_seconds", "step_seconds = 31")),
        "[rules.portscan]",
        ("rules.portscan", "multiple of `step_seconds`", "change what it names"),
    ),
    "scan of one port": (
        changed(("rules.portscan", "vertical_ports", "vertical_ports = 1")),
        "vertical_ports",
        ("rules.portscan.vertical_ports", "Expected `int` >= 2", "give a value it allows"),
    ),
    "throttle without a rate": (
        changed(("rules.data_monthly_ratio", "rate_kbps", "")),
        "[rules.data_monthly_ratio]",
        ("rules.data_monthly_ratio", "`rate_kbps` goes with", "change what it names"),
    ),
    "rate without a throttle": (
        changed(("rules.sms_daily", "limit", "limit = 350\nrate_kbps = 64")),
        "[rules.sms_daily]",
        ("rules.sms_daily", "`rate_kbps` goes with", "change what it names"),
    ),
    "fixed line slower than the terms allow": (
        changed(("rules.portscan", "rate_kbps", "rate_kbps = 255")),
        "[rules.portscan]",
        ("rules.portscan", "can't be below 256", "change what it names"),
    ),
    # What no policy may turn off: docs/LADDER.md.
    "restricted before the notice": (
        changed(("rules.sms_daily", "limit", "at_once = true # too soon")),
        "at_once = true # too soon",
        ("rules.sms_daily.at_once", "no urgency or fraud", "remove it; only these"),
    ),
    "suspended at once for a scan": (
        changed(("rules.portscan", "restriction", 'restriction = "suspend" # too much')),
        'restriction = "suspend" # too much',
        ("rules.portscan.restriction", "only a lower speed", 'set it to "throttle"'),
    ),
    "no notice at all": (
        changed(("ladder", "notice_days", "notice_days = 0")),
        "[rules.sms_daily]",
        ("rules.sms_daily.notice_days", "must be announced", "`notice_days` of 1 or more"),
    ),
    "no notice of a charge": (
        changed(("rules.roaming_volume", "restriction", 'restriction = "charge"\nnotice_days = 0')),
        "notice_days = 0",
        ("rules.roaming_volume.notice_days", "must be announced", "of 1 or more"),
    ),
    "notice that is forgotten": (
        changed(("ladder", "memory_days", "memory_days = 3")),
        "memory_days",
        ("ladder.memory_days", "would be forgotten", "more than `notice_days`"),
    ),
    "no emergency calls": (
        changed(("rules.voice_daily", "limit_ms", 'limit_ms = 1\noutgoing = ["free"]')),
        "outgoing",
        ("rules.voice_daily.outgoing", "never barred (base-general 12.1-12.3)", "remove it"),
    ),
    "another service restricted": (
        changed(("rules.sms_daily", "service", 'service = "mobile" # all of it')),
        'service = "mobile" #',
        ("rules.sms_daily.service", "may not restrict another", "choose from sms"),
    ),
    "television restricted for a scan": (
        changed(("rules.portscan", "service", 'service = "tv" # paid for by itself')),
        'service = "tv" #',
        ("rules.portscan.service", "may not restrict another", "choose from data, internet"),
    ),
    "storage restricted for a machine": (
        changed(("rules.machine", "service", 'service = "storage" # paid for by itself')),
        'service = "storage" #',
        ("rules.machine.service", "may not restrict another", "choose from data, internet, mob"),
    ),
    "storage deleted for texts": (
        changed(
            (
                "rules.sms_daily",
                "restriction",
                'restriction = "delete_storage" # gone\nhuman_review = true',
            )
        ),
        'restriction = "delete_storage" # gone',
        ("rules.sms_daily.restriction", "restricts more than the service sms", "this service"),
    ),
    "number taken back for calls": (
        changed(
            (
                "rules.voice_daily",
                "restriction",
                'restriction = "reclaim_number" # gone\nhuman_review = true',
            )
        ),
        'restriction = "reclaim_number" # gone',
        ("rules.voice_daily.restriction", "restricts more than the service voice", "alone"),
    ),
    "restricted for what others do": (
        changed(("rules.inbound_abuse", "restriction", 'restriction = "suspend" # the victim')),
        'restriction = "suspend" # the victim',
        ("rules.inbound_abuse.restriction", "done to the customer", 'set it to "report_upstream"'),
    ),
    "slowed down for what others do": (
        changed(
            (
                "rules.inbound_abuse",
                "restriction",
                'restriction = "throttle" # the victim\nrate_kbps = 256',
            )
        ),
        'restriction = "throttle" # the victim',
        ("rules.inbound_abuse.restriction", "done to the customer", 'set it to "report_upstream"'),
    ),
    "reported for the customer's own breach": (
        changed(("rules.sms_daily", "restriction", 'restriction = "report_upstream" # whom?')),
        'restriction = "report_upstream" # whom?',
        ("rules.sms_daily.restriction", "only for what is done to a customer", "own service"),
    ),
    "a list of restrictions": (
        changed(("rules.sms_daily", "restriction", 'restriction = ["suspend", "charge"]')),
        'restriction = ["suspend"',
        ("rules.sms_daily.restriction", "got `array`", "give a value it allows"),
    ),
    "a list of services": (
        changed(("rules.sms_daily", "service", 'service = ["sms", "voice"]')),
        'service = ["sms"',
        ("rules.sms_daily.service", "got `array`", "give a value it allows"),
    ),
    "charged before the notice": (
        changed(("rules.ddos", "restriction", 'restriction = "charge" # at once')),
        'restriction = "charge" # at once',
        ("rules.ddos.restriction", "charge may not come before", "choose from minimum_service"),
    ),
    "one rule's notice that is forgotten": (
        changed(("rules.sms_daily", "limit", "limit = 350\nnotice_days = 90")),
        "notice_days = 90",
        ("rules.sms_daily.notice_days", "would be forgotten", "less than `memory_days`"),
    ),
    "suspended for longer": (
        changed(("ladder", "suspension_days_max", "suspension_days_max = 11")),
        "suspension_days_max",
        ("ladder.suspension_days_max", "Expected `int` <= 10", "give a value it allows"),
    ),
    "terminated without a suspension": (
        changed(("rules.sms_daily", "restriction", 'restriction = "propose_termination"')),
        'restriction = "propose_termination"',
        ("rules.sms_daily.restriction", "is no restriction", "choose from"),
    ),
    "deleted by a machine": (
        changed(("rules.storage_ended", "human_review", "human_review = false")),
        "human_review = false",
        ("rules.storage_ended.human_review", "a person has to decide", "`human_review = true`"),
    ),
    "reclaimed by a machine": (
        changed(("rules.inactive", "human_review", "")),
        "[rules.inactive]",
        ("rules.inactive.human_review", "a person has to decide", "`human_review = true`"),
    ),
    "action without evidence": (
        changed(("ladder", "notice_days", "notice_days = 3\nevidence = false")),
        "evidence",
        ("ladder.evidence", "every action carries its evidence", "remove it"),
    ),
    "emergency numbers barred": (
        changed(("ladder", "notice_days", "notice_days = 3\nemergency_numbers = false")),
        "emergency_numbers",
        ("ladder.emergency_numbers", "never barred", "remove it"),
    ),
    "emergency numbers barred by a rule": (
        changed(("rules.voice_daily", "limit_ms", "limit_ms = 1\nbar_emergency = true")),
        "bar_emergency",
        ("rules.voice_daily.bar_emergency", "never barred", "remove it"),
    ),
    "emergency numbers in a table": (
        changed(("rules.sms_daily", "[rules.sms_daily]", "[emergency]\n[rules.sms_daily]")),
        "[emergency]",
        ("emergency", "never barred", "remove it"),
    ),
    "emergency numbers as a rule": (
        changed(("rules.sms_daily", "[rules.sms_daily]", "[rules.free_numbers]")),
        "[rules.free_numbers]",
        ("rules.free_numbers", "never barred", "remove it"),
    ),
    "no brake": (
        changed(("ladder", "notice_days", "notice_days = 3\nbrake = false")),
        "brake = false",
        ("ladder.brake", "the brake stays on", "`brake_surge` of [ladder]"),
    ),
    "no brake for a rule": (
        changed(("rules.sms_daily", "limit", "limit = 350\nbrake_enabled = false")),
        "brake_enabled",
        ("rules.sms_daily.brake_enabled", "the brake stays on", "remove it"),
    ),
    "brake misspelt": (
        changed(("ladder", "brake_surge", "brake_surges = 50")),
        "brake_surges",
        ("ladder.brake_surges", "unknown", "did you mean `brake_surge`?"),
    ),
    "terminated by a machine": (
        changed(("ladder", "notice_days", "notice_days = 3\nterminate_after_days = 20")),
        "terminate_after_days",
        ("ladder.terminate_after_days", "a person decides", "remove it"),
    ),
    "no notice of a rule": (
        changed(("rules.sms_daily", "limit", "limit = 350\nnotice = false")),
        "notice = false",
        ("rules.sms_daily.notice", "comes before what it announces", "`notice_days`"),
    ),
    "brake turned off": (
        changed(("ladder", "brake_actions_per_hour", "brake_actions_per_hour = 0")),
        "brake_actions_per_hour",
        ("ladder.brake_actions_per_hour", "Expected `int` >= 1", "give a value it allows"),
    ),
    "brake that never acts": (
        changed(("ladder", "brake_actions_per_hour", "brake_actions_per_hour = 1_000_000")),
        "brake_actions_per_hour",
        ("ladder.brake_actions_per_hour", "Expected `int` <= 10000", "give a value it allows"),
    ),
    "brake at the whole base": (
        changed(("ladder", "brake_share_percent", "brake_share_percent = 100")),
        "brake_share_percent",
        ("ladder.brake_share_percent", "Expected `float` <= 20", "give a value it allows"),
    ),
    "surge without end": (
        changed(("ladder", "brake_surge", "brake_surge = 1_000_000")),
        "brake_surge",
        ("ladder.brake_surge", "Expected `int` <= 1000", "give a value it allows"),
    ),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_each_mistake_is_reported_with_its_line_and_remedy(kind):
    """One mistake, one sentence: where, what, and what to do."""
    document, line, (where, problem, remedy) = MISTAKES[kind]
    mistakes = mistakes_of(document)
    found = next(mistake for mistake in mistakes if mistake.where == where)
    assert line_of(document, line) == found.line
    assert problem in found.problem
    assert remedy in found.remedy
    sentence = f"line {found.line}: {where}: {found.problem}; {found.remedy}"
    assert sentence == str(found)


BEFORE_RULES = DOCUMENT[: DOCUMENT.index("[rules.")]
WITHOUT_LADDER = DOCUMENT.replace(LADDER, "")
INLINE = '[rules]\nsms_daily = { limit = "x" } # here\n'


@pytest.mark.parametrize(
    ("document", "line", "where"),
    [
        (BEFORE_RULES + INLINE, "sms_daily", "rules.sms_daily.limit"),
        (BEFORE_RULES + INLINE, "sms_daily", "rules.sms_daily.clause"),
        (BEFORE_RULES + "[[rules.sms_daily]]\nlimit = 3\n", "[[rules", "rules.sms_daily"),
        (BEFORE_RULES + "[[rules]]\nlimit = 3\n", "[[rules]]", "rules"),
        (
            BEFORE_RULES + "[rules]\nsms_daily.limit = 3\nsms_daily.foo = 2",
            "sms_daily.foo",
            "rules.sms_daily.foo",
        ),
        (
            'ladder = {notice_days = "x", memory_days = 90}\n' + WITHOUT_LADDER,
            "ladder = ",
            "ladder.notice_days",
        ),
        ("exempt = {sms_daily = 3}\n" + DOCUMENT, "exempt = ", "exempt.sms_daily"),
    ],
)
def test_a_mistake_is_reported_at_its_line_however_tables_are_written(document, line, where):
    """Inline, dotted or in a list."""
    document = "# The first line is none of it.\n" + document
    found = next(mistake for mistake in mistakes_of(document) if mistake.where == where)
    assert line_of(document, line) == found.line


WRITTEN = r'''# [no.heading] = "nor key"
text = """
[rules.not]
limit = 1 ""\""""
"quoted.key" . 'and # so' = 'x' # limit = 2
[ rules . "sms\u005fdaily" ] # ] =
list = [
    {one = [1, 2], two = "}"}, # three = 3
    {four = 4.5},
]
after = 1979-05-27T07:32:00Z
[rules.x]
inner = { a.b = {}, 'c' = [[], {}], d = """
""" }
last = 1'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("text",), 2),
        (("quoted.key", "and # so"), 5),
        (("rules", "sms_daily"), 6),
        (("rules", "sms_daily", "list"), 7),
        (("rules", "sms_daily", "after"), 11),
        (("rules", "x", "inner"), 13),
        (("rules", "x", "last"), 15),
        (("rules", "x", "nothing"), 12),
        (("rules", "not"), 6),
        (("limit",), 1),
    ],
)
def test_keys_are_found_in_every_form_that_toml_allows(path, line):
    """Text that looks like a key in a string or a comment is not taken for one."""
    tomllib.loads(WRITTEN)
    assert line == found_line_of(WRITTEN, path[:-1], path[-1])


def test_all_mistakes_are_reported_at_once_in_the_order_of_lines():
    """Nobody should have to mend a document once for each mistake."""
    document = changed(
        ("", "timezone", 'timezone = "Mars/Olympus"'),
        ("ladder", "notice_days", "notice_days = -3"),
        ("rules.sms_daily", "limit", "limit = 1.5\nfoo = 1"),
        ("rules.voice_daily", "[rules.voice_daily]", "[rules.voice_hourly]"),
        ("rules.portscan", "step_seconds", "step_seconds = 7"),
    )
    mistakes = mistakes_of(document)
    assert [mistake.where for mistake in mistakes] == [
        "timezone",
        "ladder.notice_days",
        "rules.sms_daily.limit",
        "rules.sms_daily.foo",
        "rules.voice_hourly",
        "rules.portscan",
    ]
    lines = [mistake.line for mistake in mistakes]
    assert sorted(lines) == lines
    assert "; ".join(map(str, mistakes)) == str(PolicyError(mistakes))


def test_an_empty_document_is_reported_to_lack_everything():
    """All that is missing at once, instead of the first thing only."""
    required = {"name", "version", "timezone", "dedup_window_hours", "default_plan", "ladder"}
    assert required | {"rules"} == {mistake.where for mistake in mistakes_of("")}


@pytest.mark.parametrize(
    "document",
    [
        DOCUMENT,
        changed(("rules.sms_daily", "limit", ROLLING + "limit = 0")),
        changed(("rules.data_monthly_ratio", "ratio", "ratio = 1e300")),
        changed(("rules.data_monthly_ratio", "ratio", "ratio = 2.5")),
        changed(("", "timezone", 'timezone = "Asia/Beirut"')),
        DOCUMENT.split("[rules.sms_monthly]")[0],
    ],
    ids=["default", "rolling", "huge ratio", "broken ratio", "other zone", "one rule"],
)
def test_every_accepted_policy_makes_a_partition(document):
    """So a worker never ends because of a policy that passed the check."""
    Partition(0, read_policy(document, KNOWN_RULES), 1_000)


def test_a_policy_file_is_read_from_its_path(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text(changed(("", "name", 'name = "élan"')), encoding="utf-8")
    assert load_policy(path).name == "élan"


EXEMPT = '[exempt]\nsms_daily = ["c-1", "c-2"]\n\n[default_plan]'


def test_a_customer_is_exempt_from_one_rule_only():
    policy = read_policy(changed(("default_plan", "[default_plan]", EXEMPT)), KNOWN_RULES)
    assert policy.is_exempt("sms_daily", "c-2")
    assert not policy.is_exempt("sms_daily", "c-3")
    assert not policy.is_exempt("sms_monthly", "c-2")


@pytest.mark.parametrize(
    ("line", "where", "problem", "remedy"),
    [
        ('sms_dialy = ["c-1"]', "exempt.sms_dialy", "no such rule", "did you mean `sms_daily`?"),
        ('sms_daily = "c-1"', "exempt.sms_daily", "Expected `array`", "list customer ids"),
        ('sms_daily = [""]', "exempt.sms_daily", "length >= 1", "list customer ids"),
        (
            f"sms_daily = {[str(n) for n in range(10_001)]}",
            "exempt.sms_daily",
            "length <= 10000",
            "list customer ids",
        ),
    ],
)
def test_a_mistake_in_the_exempt_table_is_reported(line, where, problem, remedy):
    document = changed(("default_plan", "[default_plan]", f"[exempt]\n{line}\n\n[default_plan]"))
    (mistake,) = mistakes_of(document)
    assert (line_of(document, line.split(" ")[0]), where) == (mistake.line, mistake.where)
    assert problem in mistake.problem
    assert remedy in mistake.remedy


def test_exempt_has_to_be_a_table():
    (mistake,) = mistakes_of(changed(("", "timezone", 'exempt = 3\ntimezone = "Europe/Brussels"')))
    assert (mistake.where, mistake.problem) == ("exempt", "not a table")


def test_a_number_that_no_column_holds_is_refused():
    """A worker would end on it again after each restart."""
    for number in (2**53 + 1, "9" * 5000):
        with pytest.raises(PolicyError) as caught:
            read_policy(
                changed(("rules.portscan", "vertical_ports", f"vertical_ports = {number}")),
                KNOWN_RULES,
            )
        assert len(caught.value.mistakes) == 1
