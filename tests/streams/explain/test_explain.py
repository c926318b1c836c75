"""`fairuse explain` computes findings again from their input, and shows what differs."""

import gzip
import json
import re
from collections import Counter
from dataclasses import replace
from html import unescape
from itertools import chain
from typing import get_args

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from detectors.policies.editions import load_policy
from detectors.rules.registry import RULES
from schemas.records import (
    ActionKind,
    Customer,
    Notice,
    Service,
    Window,
    WindowKind,
)
from streams.explain.grounds import ExplainError, Grounds, grounds_of
from streams.explain.html import html_of
from streams.explain.page import Explanation, PageWriter
from streams.explain.recompute import PolicyHistory, recompute
from streams.explain.spans import InputGone, Why, read_files, spans_of
from streams.explain.terminal import show
from streams.explain.texts import LANGUAGES, texts_in
from streams.explain.wording import Wording
from streams.files.sinks import Sink
from streams.files.sources import chunks, read_records
from streams.replay.replay import Replay
from tests.support.harness.command import assert_one_sentence, fairuse
from tests.support.harness.scenarios import (
    FOLDERS,
    IDS_MAX,
    NOW_MS,
    expected_of,
    input_of,
    name_of,
    policy_of,
)
from tests.support.paths import SCENARIOS
from tests.support.strategies.drawing import only

FIRING = [folder for folder in FOLDERS if expected_of(folder)["actions"]]
CLEARED = [
    folder
    for folder in FOLDERS
    if any(found["level"] == "cleared" for found in expected_of(folder)["findings"])
]
ZONE = "Europe/Brussels"
MARCH_MS = 1_772_319_600_000
HOUR_MS, DAY_MS = 3_600_000, 86_400_000


def now():
    return NOW_MS


def customers_of(folder):
    path = folder / "customers.ndjson"
    return list(read_records(path, msgspec.json.Decoder(Customer))) if path.exists() else []


def results_of(folder, partitions):
    """Actions and findings of a scenario."""
    replay = Replay(policy_of(folder), partitions, IDS_MAX)
    replay.announce(customers_of(folder))
    results = list(replay.run([input_of(folder)], clock=now))
    return [
        list(chain.from_iterable(getattr(result, name) for result in results))
        for name in ("actions", "findings")
    ]


def replayed(folder, partitions):
    """Every action of a scenario with its findings."""
    actions, findings = results_of(folder, partitions)
    return [grounds_of(action.action_id, lambda: actions, lambda _: findings) for action in actions]


def computed(folder, grounds, files=(), partitions=1, policy=None):
    """The explanation of an action, from a scenario's own input or from the files given."""
    outcomes = []
    policy = policy or policy_of(folder)
    for finding in grounds.findings:
        chunks = read_files(spans_of(finding.evidence), files, now)
        outcomes.append(
            recompute(
                finding, PolicyHistory(policy), customers_of(folder), chunks, partitions, IDS_MAX
            )
        )
    return Explanation(grounds, outcomes, f"{policy.name} {policy.version}")


def rewritten(folder, tmp_path, keep):
    """A copy of a scenario's input with each event as `keep` returns it; None removes it."""
    path = tmp_path / input_of(folder).name
    events = read_records(input_of(folder), msgspec.json.Decoder())
    kept = (json.dumps(event) for event in map(keep, events) if event is not None)
    written = "".join(f"{line}\n" for line in kept).encode()
    path.write_bytes(gzip.compress(written) if path.suffix == ".gz" else written)
    return path


# -- computing again --------------------------------------------------------------------------


@pytest.mark.parametrize("partitions", [1, 8])
@pytest.mark.parametrize("folder", FIRING, ids=name_of)
def test_every_action_of_a_scenario_agrees_with_its_input(folder, partitions):
    """For any rule, only the input that the evidence names is read."""
    all_grounds = replayed(folder, partitions)
    assert all_grounds
    for grounds in all_grounds:
        explained = computed(folder, grounds, partitions=partitions)
        differing = [outcome.differences for outcome in explained.outcomes]
        assert explained.verdict == "agrees", (grounds.action, grounds.findings, differing)
        for language in LANGUAGES:
            page = PageWriter(language, ZONE).page(explained)
            assert page.verdict == "agrees"
            assert page.title in unescape(html_of(page))


def contacts(start_ms, every_ms, hosts, state="unanswered", who="eve"):
    """One host after the other over TCP: when, whose, where to, and whether it answered."""
    return [(start_ms + n * every_ms, who, f"10.0.{h >> 8}.{h & 255}", state) for n, h in hosts]


def new_hosts(first, number):
    return list(enumerate(range(first, first + number)))


SLOWLY, KNOWN = 20 * 60_000, list(enumerate(n % 10 for n in range(600)))
SLOW_SCANS = {
    "twice": (
        contacts(0, SLOWLY, new_hosts(100, 30)) + contacts(9 * DAY_MS, SLOWLY, new_hosts(500, 30)),
        2,
    ),
    "without_end": (contacts(0, 3 * SLOWLY, new_hosts(100, 300)), 5),
    "honest_before": (
        contacts(0, SLOWLY, new_hosts(100, 60), "established")
        + contacts(5 * DAY_MS, SLOWLY, new_hosts(500, 30)),
        1,
    ),
    "with_hosts_spoken_to_all_the_time": (
        contacts(0, 21 * 60_000, KNOWN, "established")
        + contacts(4 * DAY_MS + 77, SLOWLY, new_hosts(500, 60))
        + contacts(7 * DAY_MS + 77, SLOWLY, new_hosts(900, 60)),
        2,
    ),
    "with_dead_hosts_asked_all_the_time": (
        contacts(0, 21 * 60_000, KNOWN)
        + contacts(4 * DAY_MS + 77, SLOWLY, new_hosts(500, 60))
        + contacts(7 * DAY_MS + 77, SLOWLY, new_hosts(900, 60)),
        2,
    ),
}


@pytest.mark.parametrize("story", SLOW_SCANS)
def test_every_slow_scan_agrees_however_the_line_behaved_before(story, tmp_path):
    """The evidence's lines are enough, even if the CUSUM began long before them."""
    rows, number = SLOW_SCANS[story]
    fields = ("event_time_ms", "customer_id", "destination_address", "state")
    common = {"type": "flow", "source_address": "192.0.2.7", "destination_port": 23, "protocol": 6}
    events = [
        common | {"event_id": f"e{n}"} | dict(zip(fields, (MARCH_MS + at, *rest), strict=True))
        for n, (at, *rest) in enumerate(sorted(rows))
    ]
    path = tmp_path / "input.ndjson"
    path.write_text("".join(f"{json.dumps(event)}\n" for event in events))
    policy = only(load_policy(), "portscan_slow")
    results = list(Replay(policy, 1, IDS_MAX).run([path], clock=now))
    actions = [action for result in results for action in result.actions]
    findings = [finding for result in results for finding in result.findings]
    assert len(findings) == number
    assert actions
    all_grounds = [
        grounds_of(action.action_id, lambda: actions, lambda _: findings) for action in actions
    ]
    told = {finding.finding_id for grounds in all_grounds for finding in grounds.findings}
    all_grounds += [Grounds(actions[0], None, [f]) for f in findings if f.finding_id not in told]
    for grounds in all_grounds:
        outcomes = [
            recompute(
                finding,
                PolicyHistory(policy),
                [],
                read_files(spans_of(finding.evidence), [path], now),
                1,
                IDS_MAX,
            )
            for finding in grounds.findings
        ]
        assert [outcome.differences for outcome in outcomes] == [[]] * len(outcomes), (
            grounds.findings
        )


@pytest.mark.parametrize("folder", FIRING, ids=name_of)
def test_an_action_does_not_agree_with_changed_input(folder, tmp_path):
    """The customer's events are removed; for a finding about no use, use is added."""
    for grounds in replayed(folder, 1):
        who, start_ms = grounds.action.customer_id, grounds.findings[0].window.start_ms

        def keep(event, who=who, start_ms=start_ms, is_silence=grounds.action.rule == "inactive"):
            if is_silence:
                return event | {"customer_id": who, "event_time_ms": start_ms + DAY_MS}
            return event if event["customer_id"] != who else None

        path = rewritten(folder, tmp_path, keep)
        try:
            verdict = computed(folder, grounds, [path]).verdict
        except InputGone:
            verdict = "gone"
        assert verdict in ("differs", "gone"), grounds.findings


@pytest.mark.parametrize("partitions", [1, 8])
@pytest.mark.parametrize("folder", CLEARED, ids=name_of)
def test_a_cleared_finding_agrees_with_its_input_too(folder, partitions):
    """Whether or not a restriction was in force."""
    policy, customers = policy_of(folder), customers_of(folder)
    _, findings = results_of(folder, partitions)
    cleared = [f for f in findings if f.level == "cleared" and f.corrects is None]
    for finding in cleared:
        chunks = read_files(spans_of(finding.evidence), (), now)
        outcome = recompute(finding, PolicyHistory(policy), customers, chunks, partitions, IDS_MAX)
        assert outcome.differences == [], finding
    assert cleared


FIRST_SMS = SCENARIOS / "sms_daily/the_351st_message"


def terminal_text(explained):
    """The page as a terminal shows it, without colours."""
    console = Console(width=100, color_system=None, force_terminal=False)
    with console.capture() as captured:
        show(PageWriter("en", ZONE).page(explained), console)
    return captured.get()


def html_text(explained, language="en"):
    """The page as HTML, with its characters as they are shown."""
    return unescape(html_of(PageWriter(language, ZONE).page(explained)))


def the_first_grounds():
    return replayed(FIRST_SMS, 1)[0]


def test_events_that_came_too_late_are_left_out_though_topics_do_not_keep_their_bytes():
    """A replay needs their bytes for dead letters; an explanation needs none."""

    def raw(record):
        raise LookupError(record)

    folder = SCENARIOS / "sms_daily/late_messages_of_yesterday"
    finding = replayed(folder, 1)[0].findings[0]
    read = [replace(chunk, raw=raw) for chunk in chunks([input_of(folder)], now)]
    policies = PolicyHistory(policy_of(folder))
    assert recompute(finding, policies, customers_of(folder), read, 1, IDS_MAX).agrees


def test_without_one_message_the_next_one_crosses_the_limit(tmp_path):
    """The count is the same, but it is reached by the next message, a minute later."""
    grounds = the_first_grounds()
    events = list(read_records(input_of(FIRST_SMS), msgspec.json.Decoder()))
    ids = Counter(event["event_id"] for event in events)
    taken = next(
        event["event_id"]
        for event in events
        if event["customer_id"] == grounds.action.customer_id
        and ids[event["event_id"]] == 1
        and not {"direction", "segment_total", "service"} & set(event)
    )
    path = rewritten(FIRST_SMS, tmp_path, lambda e: e if e["event_id"] != taken else None)
    explained = computed(FIRST_SMS, grounds, [path])
    assert explained.outcomes[0].differences == ["event_time_ms"]
    assert "Limit passed: Tuesday, 10 March 2026 at" in html_text(explained)


def test_without_sixty_messages_the_limit_is_not_crossed(tmp_path):
    """The page says what count the input gives."""
    grounds, taken = the_first_grounds(), []

    def keep(event):
        if event["customer_id"] == grounds.action.customer_id and len(taken) < 60:
            taken.append(event)
            return None
        return event

    explained = computed(FIRST_SMS, grounds, [rewritten(FIRST_SMS, tmp_path, keep)])
    reached = explained.outcomes[0].reached
    assert 250 < reached <= 350
    text = html_text(explained)
    assert "Nothing above the limit is found any more." in text
    assert f"The input shows {reached}, the action says 351." in text


def test_a_changed_amount_is_named_with_both_numbers(tmp_path):
    """The breach is found again, but with a smaller amount."""
    folder = next(f for f in FIRING if f.parent.name == "storage_capacity")
    grounds = replayed(folder, 1)[0]
    who, observed = grounds.action.customer_id, grounds.findings[0].observed

    def keep(event):
        if event["customer_id"] == who and event.get("used_bytes") == observed:
            return event | {"used_bytes": observed + 10**9}
        return event

    explained = computed(folder, grounds, [rewritten(folder, tmp_path, keep)])
    assert explained.outcomes[0].differences == ["observed"]
    amount = Wording(texts_in("en"), ZONE).amount
    text = html_text(explained)
    assert f"Counted: {amount(observed + 10**9, 'bytes')}" in text
    assert f"the action says {amount(observed, 'bytes')}" in text


@pytest.mark.parametrize(
    ("content", "why"), [(None, "missing"), (b"", "short"), (b"\x1f\x8b broken", "unreadable")]
)
def test_the_page_says_that_input_is_gone(tmp_path, content, why):
    """The file is missing, too short, or can't be read."""
    grounds = the_first_grounds()
    path = tmp_path / ("input.ndjson.gz" if why == "unreadable" else "input.ndjson")
    if content is not None:
        path.write_bytes(content)
    named = [span._replace(file=str(path)) for span in spans_of(grounds.findings[0].evidence)]
    with pytest.raises(InputGone) as gone:
        list(read_files(named, [], now))
    assert why == gone.value.why
    explained = Explanation(grounds, [gone.value], "default 2024-06-03")
    assert explained.verdict == "gone"
    assert path.name in html_text(explained)


def test_a_moved_file_is_found_by_its_name_unless_two_have_it(tmp_path):
    """With two files of that name, nothing says which one it was."""
    spans = spans_of(the_first_grounds().findings[0].evidence)
    copies = [tmp_path / folder / "input.ndjson" for folder in ("one", "two")]
    for copy in copies:
        copy.parent.mkdir()
        copy.write_bytes(input_of(FIRST_SMS).read_bytes())
    assert sum(chunk.records for chunk in read_files(spans, copies[:1], now)) > 0
    with pytest.raises(InputGone) as gone:
        list(read_files(spans, copies, now))
    assert gone.value.why == "ambiguous"


def test_the_page_names_another_version_of_the_policy_and_ignores_its_ids():
    """The numbers are still compared."""
    grounds, policy = the_first_grounds(), policy_of(FIRST_SMS)
    newer = msgspec.structs.replace(policy, version="next")
    explained = computed(FIRST_SMS, grounds, policy=newer)
    assert explained.verdict == "agrees"
    assert "counted again under default next" in html_text(explained)
    lower = msgspec.structs.replace(policy.rules["sms_daily"], limit=340)
    stricter = msgspec.structs.replace(newer, rules={"sms_daily": lower})
    assert computed(FIRST_SMS, grounds, policy=stricter).outcomes[0].differences == [
        "observed",
        "limit",
        "event_time_ms",
    ]


def test_a_mean_is_taken_from_the_evidence_and_the_page_says_so():
    """Customers of other partitions are not read."""
    (folder,) = (f for f in FIRING if f.name == "ten_times_the_mean_for_two_months")
    grounds = replayed(folder, 8)[0]
    grounds.findings[0].evidence["cohort_bytes"] //= 2
    explained = computed(folder, grounds, partitions=8)
    assert explained.outcomes[0].differences == ["limit"]
    assert "What the other customers use on average" in html_text(explained)


def test_the_grounds_hold_the_notice_that_came_before_the_action():
    """It is the last notice of the same rule and customer before the action."""
    (folder,) = (f for f in FIRING if name_of(f) == "sms_daily/again_and_again")
    all_grounds = replayed(folder, 1)
    later = [grounds for grounds in all_grounds if grounds.action.kind != "notify"]
    assert later
    for grounds in later:
        assert grounds.notice.kind == "notify"
        assert grounds.notice.customer_id == grounds.action.customer_id
        assert grounds.notice.decided_ms <= grounds.action.decided_ms
        assert f"Notice {grounds.notice.action_id}" in html_text(computed(folder, grounds))


def test_the_error_names_a_missing_action_or_finding():
    """The message says what to do."""
    grounds = the_first_grounds()
    with pytest.raises(ExplainError, match="check the number"):
        grounds_of("a-0", lambda: [grounds.action], lambda _: grounds.findings)
    with pytest.raises(ExplainError, match="of the same run"):
        grounds_of(grounds.action.action_id, lambda: [grounds.action], lambda _: [])


# -- the page -----------------------------------------------------------------------------------


def test_a_hostile_customer_id_is_shown_as_text():
    """It brings no markup, no control characters, and no change of the direction of writing."""
    grounds = the_first_grounds()
    hostile = "<script>alert(1)</script>\x1b[31m[bold]\u202eevil"
    action = msgspec.structs.replace(grounds.action, customer_id=hostile, clause=f"{hostile} 1")
    explained = computed(FIRST_SMS, grounds)
    hostile = Grounds(action, grounds.notice, grounds.findings)
    changed = Explanation(hostile, explained.outcomes, explained.policy_given)
    page = html_of(PageWriter("en", ZONE).page(changed))
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    text = terminal_text(changed)
    assert "<script>alert(1)</script>\ufffd[31m[bold]\ufffdevil" in text
    assert not {"\x1b", "\u202e"} & {*page, *text}


def test_the_html_page_needs_no_other_file():
    """So it can be mailed, kept and printed."""
    page = html_of(PageWriter("nl", ZONE).page(computed(FIRST_SMS, the_first_grounds())))
    assert not re.search(r"https?:|src=|href=|@import|url\(", page)
    assert '<html lang="nl">' in page
    assert 'role="img" aria-label="Gebruik opgeteld' in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_the_chart_shows_the_counts_of_the_input_up_to_the_limit():
    """The last count is the observed amount; only counts above the limit are marked."""
    chart = PageWriter("en", ZONE).page(computed(FIRST_SMS, the_first_grounds())).sections[0].chart
    counts = [int(bar.text) for bar in chart.bars]
    assert counts == sorted(set(counts))
    assert counts[-1] == 351
    assert [bar.is_above for bar in chart.bars] == [count > 350 for count in counts]
    assert chart.bars[-1].percent == 100
    assert chart.limit_percent == 99.7


def test_a_regular_breach_shows_each_period():
    """The page says how many there were, and how many make it regular."""
    (folder,) = (f for f in FIRING if name_of(f) == "voice_daily/three_days_of_seven")
    actions, findings = results_of(folder, 1)
    regular = next(finding for finding in findings if finding.level == "regular")
    grounds = Grounds(actions[0], None, [regular])
    page = PageWriter("en", ZONE).page(computed(folder, grounds))
    above = [bar for bar in page.sections[0].chart.bars if bar.is_above]
    assert len(above) == 3
    assert "3 days above the limit within 7 days" in page.sections[0].rows[-1].text


# -- languages ----------------------------------------------------------------------------------


def signs_told(folder, language="en"):
    """The signs that the page gives for the last finding of a scenario."""
    grounds = replayed(folder, 1)[-1]
    page = PageWriter(language, ZONE).page(computed(folder, grounds))
    label = texts_in(language).labels["sign"]
    return [row.text for section in page.sections for row in section.rows if row.label == label]


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (
            "gateway",
            [
                "80 calls were made and 4 received (30 points).",
                "80 different numbers in 80 calls (25 points).",
                "All calls came from one place (15 points).",
                "No text message was sent all day (10 points).",
            ],
        ),
        (
            "machine",
            [
                "mobile data: always at nearly the same interval.",
                "mobile data: by night as by day.",
            ],
        ),
        (
            "deviation",
            ["Used 200 times in the week, others mostly 5 times (6.91 times the usual spread)."],
        ),
    ],
)
def test_the_page_names_the_signs_of_a_score(rule, told):
    """So that the agent can say why."""
    folder = next(folder for folder in FIRING if folder.parent.name == rule)
    said = signs_told(folder)
    assert set(told) <= set(said)
    for language in LANGUAGES[1:]:
        assert len(signs_told(folder, language)) == len(said)


def test_a_rule_that_only_counts_has_no_signs():
    assert signs_told(FIRST_SMS) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_action_under_review_says_by_when_it_is_decided(language):
    """Not how long the restriction lasts: it is not in force yet."""
    folder = next(folder for folder in FIRING if folder.name == "thirty_days_after_the_end")
    grounds = next(grounds for grounds in replayed(folder, 1) if grounds.action.human_review)
    page = PageWriter(language, ZONE).page(computed(folder, grounds))
    rows = {row.label: row.text for row in page.rows}
    texts = texts_in(language)
    assert texts.labels["until"] not in rows
    decided = Wording(texts, ZONE).moment(grounds.action.expires_ms)
    assert decided == rows[texts.labels["decision"]]


@pytest.fixture(scope="module")
def found():
    """Rule and unit of every finding of the scenarios."""
    findings = chain.from_iterable(results_of(folder, 1)[1] for folder in FIRING)
    return {(finding.rule, finding.unit) for finding in findings}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_a_sentence_for_every_rule_and_unit(language, found):
    """Those that rules declare, and those that the scenarios show."""
    seen = texts_in(language).seen
    units = {(name, unit.name) for name, rule in RULES.items() for unit in rule.declaration.units}
    units |= found
    assert set(RULES) == set(seen)
    missing = {(rule, unit) for rule, unit in units if unit not in seen[rule]}
    assert not missing, f"add to streams/explain/texts/{language}.toml"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_words_for_every_kind(language):
    """Every kind of action, service, verdict, missing input and document."""
    texts = texts_in(language)
    assert set(get_args(ActionKind)) == set(texts.title) == set(texts.follows)
    assert set(get_args(Service)) == set(texts.service)
    assert set(get_args(Why)) == set(texts.gone)
    assert set(texts.periods) == set(texts.windows)
    words = Wording(texts, ZONE)
    for rule in load_policy().rules.values():
        cited = [one.strip().partition(" ")[0] for one in rule.clause.split(";")]
        assert set(cited) <= set(texts.documents)
        assert not any(document in words.clauses(rule.clause) for document in cited)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", get_args(WindowKind))
@pytest.mark.parametrize("end_ms", [MARCH_MS + HOUR_MS, MARCH_MS + 31 * DAY_MS, None])
def test_every_kind_of_window_can_be_written(language, kind, end_ms):
    """Whether it has ended or not."""
    window = Window(kind=kind, start_ms=MARCH_MS, end_ms=end_ms)
    assert "2026" in Wording(texts_in(language), ZONE).window(window)


def keys_and_places(texts):
    """Every key of a language with the placeholders of its text."""
    flat = [((), msgspec.to_builtins(texts))]
    told = {}
    while flat:
        path, value = flat.pop()
        if isinstance(value, dict):
            flat += [((*path, name), inner) for name, inner in value.items()]
        else:
            told[path] = sorted(set(re.findall(r"{\w+}", value)))
    return told


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_languages_have_the_same_keys_and_places(language):
    """No language lacks a sentence, or a limit in one."""
    assert keys_and_places(texts_in("en")) == keys_and_places(texts_in(language))


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        (
            "en",
            "10,001 | 6 hours 5 minutes | 1 minute | 12.35 GB | 5 MB | 90.5% | 82 | none | "
            "Sunday, 29 March 2026 at 03:30",
        ),
        (
            "nl",
            "10.001 | 6 uur 5 minuten | 1 minuut | 12,35 GB | 5 MB | 90,5% | 82 | geen | "
            "zondag 29 maart 2026 om 03:30",
        ),
        (
            "fr",
            "10 001 | 6 heures 5 minutes | 1 minute | 12,35 Go | 5 Mo | 90,5 % | 82 | aucune | "
            "dimanche 29 mars 2026 à 03:30",
        ),
    ],
)
def test_amounts_and_times_are_written_as_is_usual_in_the_language(language, expected):
    """The last night of March has no 02:30 in Brussels."""
    words = Wording(texts_in(language), ZONE)
    told = [
        words.amount(10_001, "messages"),
        words.amount(6 * HOUR_MS + 4 * 60_000 + 1, "ms"),
        words.amount(1, "ms"),
        words.amount(12_345_678_901, "bytes"),
        words.amount(5_000, "kilobytes"),
        words.amount(905, "per_mille_abroad"),
        words.amount(820, "gateway per mille"),
        words.amount(-1, "bytes"),
        words.moment(1_774_747_800_000),
    ]
    assert expected == re.sub(r"\s", " ", " | ".join(told))


@pytest.mark.parametrize(
    ("kind", "notice", "expected"),
    [
        ("notify", Notice(required=False), "This is the notice, of"),
        ("notify", Notice(required=True, delivered_ms=MARCH_MS), "It was delivered on Sunday"),
        ("throttle", Notice(required=True), "no delivery has been confirmed yet"),
        ("suspend", Notice(required=True, waived_because="urgency"), "protected at once"),
        ("suspend", Notice(required=True, waived_because="a flood"), "Not beforehand: a flood."),
        ("release", Notice(required=False), "None is needed"),
    ],
)
def test_the_page_says_which_notice_there_was(kind, notice, expected):
    """And when it was delivered, or why there was none."""
    grounds = the_first_grounds()
    action = msgspec.structs.replace(grounds.action, kind=kind, notice=notice)
    changed = Explanation(Grounds(action, None, grounds.findings), [InputGone("unnamed")], "p 1")
    assert expected in html_text(changed)


# -- the command --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A replay's files, and the id of its first action."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "input.ndjson").write_bytes(input_of(FIRST_SMS).read_bytes())
    (folder / "customers.ndjson").write_bytes((FIRST_SMS / "customers.ndjson").read_bytes())
    told = ("--customers", "customers.ndjson", "--actions", "a.ndjson", "--findings", "f.ndjson")
    assert fairuse("replay", "input.ndjson", *told, cwd=folder).returncode == 0
    first = json.loads((folder / "a.ndjson").read_text().splitlines()[0])
    return folder, first["action_id"], told


def test_the_command_shows_a_page_and_writes_one(run, tmp_path):
    """The page is in the language asked for; the exit code is 0."""
    folder, action_id, told = run
    page = tmp_path / "page.html"
    shown = fairuse("explain", action_id, *told, "--language", "fr", "--html", page, cwd=folder)
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr == ""
    assert "351 messages texte ont été envoyés en un jour" in shown.stdout
    assert "351 messages texte" in page.read_text(encoding="utf-8")


def test_records_in_parquet_are_explained_as_those_in_ndjson(run, tmp_path):
    """A replay writes both; customers can be Parquet, too."""
    folder, action_id, told = run
    expected = fairuse("explain", action_id, *told, cwd=folder).stdout
    with Sink(str(tmp_path / "customers.parquet")) as sink:
        sink.write(customers_of(FIRST_SMS))
    flags = ("--customers", "--actions", "--findings")
    told = [
        text
        for flag, name in zip(flags, ("customers", "actions", "findings"), strict=True)
        for text in (flag, str(tmp_path / f"{name}.parquet"))
    ]
    assert fairuse("replay", "input.ndjson", *told, cwd=folder).returncode == 0
    shown = fairuse("explain", action_id, *told, cwd=folder)
    assert (shown.returncode, shown.stdout) == (0, expected), shown.stderr


def test_the_error_names_parquet_that_holds_no_actions(run, tmp_path):
    """For example usage in place of actions."""
    folder, action_id, told = run
    pq.write_table(pa.table({"type": ["sms"]}), tmp_path / "usage.parquet")
    told = (*told, "--actions", tmp_path / "usage.parquet")
    shown = fairuse("explain", action_id, *told, cwd=folder)
    assert_one_sentence(shown, 1, "usage.parquet:1", "action_id", "mend the row")


def test_the_command_fails_when_the_input_differs_or_is_gone(run, tmp_path):
    """Exit code 1 and one sentence, after the page."""
    folder, action_id, told = run
    lines = (folder / "input.ndjson").read_bytes().splitlines(keepends=True)
    (tmp_path / "input.ndjson").write_bytes(b"".join(lines[100:]))
    differs = fairuse("explain", action_id, tmp_path / "input.ndjson", *told, cwd=folder)
    assert_one_sentence(differs, 1, "does not agree")
    assert "it does not agree" in differs.stdout
    (tmp_path / "other.ndjson").write_bytes(b"".join(lines))
    gone = fairuse("explain", action_id, tmp_path / "other.ndjson", *told, cwd=folder)
    assert_one_sentence(gone, 1, "input.ndjson is not there", "is gone")
    assert "A notice about your use" in gone.stdout


def test_the_command_says_what_to_do_about_wrong_usage(run):
    """It prints one sentence; the exit codes are those of the other commands."""
    folder, action_id, told = run
    assert_one_sentence(fairuse("explain", "a-0", *told, cwd=folder), 1, "a-0", "check the number")
    alone = fairuse("explain", action_id, "--actions", "a.ndjson", cwd=folder)
    assert_one_sentence(alone, 2, "--findings")
    nowhere = fairuse("explain", action_id, *told, "--html", "no/where.html", cwd=folder)
    assert_one_sentence(nowhere, 1, "no/where.html", "name another")
