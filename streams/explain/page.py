"""The page that a customer-care agent reads out: an action in words, with a chart of its counts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from schemas.records import ActionKind, Finding, Window
from schemas.units import HOUR_MS
from streams.explain.grounds import Grounds
from streams.explain.recompute import Recomputation, policy_name
from streams.explain.signs import signs_of
from streams.explain.spans import InputGone, spans_of
from streams.explain.texts import texts_in
from streams.explain.wording import Wording

BARS_MAX = 12
"""Most bars of a chart; more are hard to read."""

LASTING: frozenset[ActionKind] = frozenset(
    {"throttle", "cut_data", "minimum_service", "restrict_storage", "suspend"}
)
"""Kinds that are in force until they are lifted."""

Verdict = Literal["agrees", "differs", "gone"]


class Row(NamedTuple):
    """A line of the page: a label and a text."""

    label: str
    text: str


class Bar(NamedTuple):
    """A count of the chart; `percent` is its length on the chart's axis."""

    label: str
    text: str
    percent: float
    is_above: bool


@dataclass(frozen=True, slots=True)
class Chart:
    """Counts against the limit; `limit_percent` is its place on the axis, if there is a limit."""

    caption: str
    bars: list[Bar]
    limit_text: str
    limit_percent: float | None


@dataclass(frozen=True, slots=True)
class Section:
    """What one finding says, and what came of computing it again."""

    sentence: str
    rows: list[Row]
    chart: Chart | None
    computed: list[Row]


@dataclass(frozen=True, slots=True)
class Page:
    """Everything that the page shows, in its language."""

    language: str
    title: str
    rows: list[Row]
    sections: list[Section]
    verdict: Verdict
    verdict_text: str
    remarks: list[str]


@dataclass(frozen=True, slots=True)
class Explanation:
    """An action with its grounds, and what came of computing its findings again, in their order."""

    grounds: Grounds
    outcomes: list[Recomputation | InputGone]
    policy_given: str

    @property
    def verdict(self) -> Verdict:
        """Whether the findings agree with their input, all of them."""
        if len(self._computed) < len(self.outcomes):
            return "gone"
        return "agrees" if all(outcome.agrees for outcome in self._computed) else "differs"

    @property
    def _computed(self) -> list[Recomputation]:
        return [outcome for outcome in self.outcomes if not isinstance(outcome, InputGone)]

    @property
    def is_plan_newer(self) -> bool:
        """Whether the customer's plan began after the action was decided."""
        decided_ms = self.grounds.action.decided_ms
        return any(outcome.plan_from_ms > decided_ms for outcome in self._computed)

    @property
    def is_other_policy(self) -> bool:
        """Whether the action was decided under another policy than it was computed under."""
        return self.policy_given != policy_name(self.grounds.action.policy)


class PageWriter:
    """Writes the page.

    Parameters
    ----------
    language
        One of `LANGUAGES`.
    zone
        The time zone of the policy, in which times are written.
    """

    def __init__(self, language: str, zone: str) -> None:
        self.language = language
        self.zone = zone
        self.texts = texts_in(language)
        self.words = Wording(self.texts, zone)

    def page(self, explained: Explanation) -> Page:
        """Write the whole page.

        Parameters
        ----------
        explained
            What was found out about the action.

        Returns
        -------
        The page.
        """
        action = explained.grounds.action
        outcomes = zip(explained.grounds.findings, explained.outcomes, strict=True)
        return Page(
            language=self.language,
            title=self.texts.title[action.kind],
            rows=list(self._rows(explained.grounds)),
            sections=[self._section(finding, outcome) for finding, outcome in outcomes],
            verdict=explained.verdict,
            verdict_text=self.texts.verdict[explained.verdict],
            remarks=[*self._remarks(explained), self.texts.times.format(zone=self.zone)],
        )

    def gone(self, gone: InputGone) -> str:
        """Write what can't be read, and why.

        Parameters
        ----------
        gone
            The missing input.

        Returns
        -------
        A sentence.
        """
        return self.texts.gone[gone.why].format(what=plain(gone.what))

    # -- the action -----------------------------------------------------------------------------

    def _rows(self, grounds: Grounds) -> Iterator[Row]:
        action, labels = grounds.action, self.texts.labels
        follows = self.texts.follows[action.kind]
        rate_kbps = action.parameters.get("rate_kbps")
        yield Row(labels["customer"], plain(action.customer_id))
        yield Row(labels["service"], self.texts.service[action.service])
        yield Row(labels["terms"], plain(self.words.clauses(action.clause)))
        yield Row(labels["notice"], self._notice(grounds))
        rate = self.words.rate(rate_kbps) if rate_kbps else self.texts.no_limit
        if action.human_review:
            follows = f"{follows} {self.texts.objection['review']}"
        yield Row(labels["follows"], follows.format(rate=rate))
        if action.kind != "notify":
            yield Row(labels["from"], self.words.moment(action.effective_ms))
        if action.expires_ms is not None:
            label = labels["decision" if action.human_review else "until"]
            yield Row(label, self.words.moment(action.expires_ms))
        elif action.kind in LASTING:
            yield Row(labels["until"], self.texts.until["open"])
        yield Row(labels["action"], plain(action.action_id))
        yield Row(labels["objection"], self.texts.objection["say"])

    def _notice(self, grounds: Grounds) -> str:
        """Which notice was sent and when it was delivered, or why there was none."""
        action, notice, texts = grounds.action, grounds.action.notice, self.texts.notice
        if action.kind == "notify":
            said = [texts["itself"].format(moment=self.words.moment(action.effective_ms))]
        elif notice.waived_because is not None:
            because = self.texts.waived.get(notice.waived_because, plain(notice.waived_because))
            return texts["waived"].format(because=because)
        elif not notice.required:
            return texts["needless"]
        else:
            said = []
            if grounds.notice is not None:
                moment = self.words.moment(grounds.notice.effective_ms)
                action_id = plain(grounds.notice.action_id)
                said.append(texts["earlier"].format(action_id=action_id, moment=moment))
        if notice.delivered_ms is not None:
            said.append(texts["delivered"].format(moment=self.words.moment(notice.delivered_ms)))
        elif notice.required:
            said.append(texts["pending"])
        return " ".join(said)

    def _remarks(self, explained: Explanation) -> Iterator[str]:
        action = explained.grounds.action
        if explained.is_other_policy:
            said, found = policy_name(action.policy), explained.policy_given
            yield self.texts.remark["policy"].format(said=plain(said), found=plain(found))
        if explained.is_plan_newer:
            yield self.texts.remark["plan"]

    # -- a finding ------------------------------------------------------------------------------

    def _section(self, finding: Finding, outcome: Recomputation | InputGone) -> Section:
        is_gone = isinstance(outcome, InputGone)
        return Section(
            sentence=self._sentence(finding),
            rows=list(self._when(finding)),
            chart=None if is_gone else self._chart(outcome),
            computed=list(self._computed(finding, outcome)),
        )

    def _sentence(self, finding: Finding) -> str:
        observed, limit = (
            self.words.amount(value, finding.unit) for value in (finding.observed, finding.limit)
        )
        return self.texts.seen[finding.rule][finding.unit].format(observed=observed, limit=limit)

    def _when(self, finding: Finding) -> Iterator[Row]:
        labels = self.texts.labels
        yield Row(labels["when"], self.words.window(finding.window))
        end_ms = finding.window.end_ms
        # A finding of a closed period was not caused by a single event, so it has no moment.
        if finding.level != "cleared" and (end_ms is None or finding.event_time_ms < end_ms):
            yield Row(labels["passed"], self.words.moment(finding.event_time_ms))
        breaches = finding.evidence.get("breaches")
        if finding.level == "regular" and breaches:
            kind = finding.window.kind
            window = finding.evidence["regular_window"]
            regularly = self.texts.regularly.format(
                count=len(breaches),
                periods=self.texts.periods[kind],
                window=self.texts.windows[kind].format(count=window),
                list=", ".join(self.words.step(b["start_ms"], kind) for b in breaches),
                needed=finding.evidence["regular_periods"],
            )
            yield Row(labels["regularly"], regularly)
        for sign in signs_of(finding, self.texts, self.words):
            yield Row(labels["sign"], sign)

    def _computed(self, finding: Finding, outcome: Recomputation | InputGone) -> Iterator[Row]:
        labels, remark = self.texts.labels, self.texts.remark
        if isinstance(outcome, InputGone):
            yield Row(labels["recomputed"], self.gone(outcome))
        else:
            for difference in outcome.differences:
                yield Row(labels["recomputed"], self._difference(outcome, difference))
            spans = plain(", ".join(map(str, spans_of(finding.evidence))))
            count = self.words.number(outcome.events)
            yield Row(labels["read"], remark["events"].format(spans=spans, count=count))
        if (customers := _cohort_size(finding)) is not None:
            means = remark["means"].format(customers=self.words.number(customers))
            yield Row(labels["given"], means)
        yield Row(labels["policy"], plain(policy_name(finding.policy)))
        yield Row(labels["finding"], plain(f"{finding.rule}, {finding.finding_id}"))

    def _difference(self, outcome: Recomputation, difference: str) -> str:
        finding, again, texts = outcome.finding, outcome.again, self.texts.difference
        if again is None:
            if outcome.reached is None:
                return texts["finding"]
            found, said = (
                self.words.amount(n, finding.unit) for n in (outcome.reached, finding.observed)
            )
            return texts["finding"] + " " + texts["reached"].format(found=found, said=said)
        values = getattr(again, difference), getattr(finding, difference)
        if difference == "window":
            found, said = map(self.words.window, values)
        elif difference == "event_time_ms":
            found, said = map(self.words.moment, values)
        elif difference == "finding_id":
            found, said = map(plain, values)
        else:
            found, said = (self.words.amount(value, finding.unit) for value in values)
        return texts[difference].format(found=found, said=said)

    # -- the chart ------------------------------------------------------------------------------

    def _chart(self, outcome: Recomputation) -> Chart:
        """The counts that were computed again: hour by hour, day by day, or one for each period."""
        finding = outcome.again or outcome.finding
        counts = dict(outcome.counts)
        if outcome.again is not None:
            for breach in finding.evidence.get("breaches", ()):
                if "observed" in breach:
                    counts[breach["start_ms"]] = breach["observed"]
        shown = _thinned(_rises(counts, finding))
        caption = self.texts.labels["chart"]
        if len(shown) < 2:
            observed = outcome.again.observed if outcome.again else outcome.reached
            bars = [] if observed is None else [(self.texts.labels["counted"], observed)]
        elif finding.level == "regular":
            kind = finding.window.kind
            bars = [(self.words.step(start_ms, kind), n) for start_ms, n in shown]
        else:
            caption = self.texts.labels["added"]
            bars = [(self._until(start_ms, finding.window), n) for start_ms, n in shown]
        longest = max([finding.limit, *(n for _, n in bars)], default=0) or 1
        limit = self.words.amount(finding.limit, finding.unit)
        return Chart(
            caption=caption,
            bars=[
                Bar(
                    label,
                    self.words.amount(n, finding.unit),
                    round(100 * n / longest, 1),
                    _is_above(n, finding),
                )
                for label, n in bars
            ],
            limit_text=self.texts.limit.format(limit=limit),
            limit_percent=None if finding.limit < 0 else round(100 * finding.limit / longest, 1),
        )

    def _until(self, start_ms: int, window: Window) -> str:
        """The end of the hour, or the day of a longer window, by which a count was reached."""
        if window.kind == "day":
            return self.words.step(start_ms + HOUR_MS, "hour")
        return self.words.step(start_ms, "day")


def _is_above(count: int, finding: Finding) -> bool:
    """Whether a count is a breach: above the limit, or at it if the finding's own count is."""
    if finding.limit < 0:
        return False
    return count > finding.limit or (count == finding.limit == finding.observed)


def _cohort_size(finding: Finding) -> int | None:
    """How many customers the cohort has whose mean the finding was compared with, if it was."""
    services = finding.evidence.get("services", {}).values()
    sizes = [each.get("cohort_customers") for each in (finding.evidence, *services)]
    return next((size for size in sizes if size is not None), None)


def _rises(counts: dict[int, int], finding: Finding) -> list[tuple[int, int]]:
    """The counts in order of time; within one window, only those that differ from the last."""
    steps = sorted(counts.items())
    if finding.level == "regular":
        return steps
    before = [0, *(count for _, count in steps)]
    return [step for step, earlier in zip(steps, before, strict=False) if step[1] != earlier]


def _thinned(steps: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """At most `BARS_MAX` steps, evenly spread, the last among them."""
    if len(steps) <= BARS_MAX:
        return steps
    places = [round(n * (len(steps) - 1) / (BARS_MAX - 1)) for n in range(BARS_MAX)]
    return [steps[place] for place in places]


def plain(text: str) -> str:
    """Replace characters that would control a terminal or reverse the direction of a line.

    Parameters
    ----------
    text
        A text from outside, such as a customer id.

    Returns
    -------
    The text in printable characters.
    """
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
