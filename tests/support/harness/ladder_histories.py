"""Random histories of one customer under several rules, and what must be true of each.

Plain `random`, so that a hundred thousand of them take two minutes. `Enforcement` sees actions
only and knows what is in force by them; `Causes` sees what comes in and knows what is in breach.
"""

from detectors.ladder.actions import STRENGTH, strength
from detectors.ladder.dossier import KEPT_BACK, UNPLACED, unpack_dossier
from detectors.ladder.ladder import Ladder
from detectors.rules import registry
from schemas.records import Decision, EnforcementResult
from schemas.safeguards import DONE_ONCE
from tests.support.harness.ladder_story import (
    DAY_MS,
    START_MS,
    STATES,
    dossier_of,
    finding,
    with_ladder,
    with_rule,
)

CUSTOMER = "7"
RULES = (
    *("sms_daily", "sms_monthly", "voice_daily", "voice_weekly", "stream_devices"),
    *("portscan", "ddos", "mail_spam", "portscan_slow", "data_bundle", "roaming_volume"),
    *("storage_capacity", "storage_contacts", "storage_ended", "inactive", "inbound_abuse"),
)
AT_ONCE = {
    name: rule.declaration.urgency
    for name, rule in registry.RULES.items()
    if rule.declaration.urgency
}
LASTING = {rule for rule in STATES if rule not in AT_ONCE} | {"data_bundle"}
"""Rules whose breach goes on until it is cleared."""

TERSE = with_ladder(
    attempts_max=2, ack_timeout_hours=72, delivery_timeout_hours=96, channels=("text", "mail")
)
REVIEWED = with_rule("ddos", with_rule("sms_daily", TERSE, human_review=True), human_review=True)
BRAKED = with_ladder(TERSE, brake_actions_per_hour=2)
POLICIES = (TERSE, REVIEWED, BRAKED)
FINDINGS, RESULTS, DECISIONS = "fold", "result", "decided"
LONG_AFTER_MS = 400 * DAY_MS
KNOWN_DAYS = 29
"""No rule tells of a window again that is older; the ladder remembers it for a day more."""


class Causes:
    """What is in breach, as the contract has it: newest breaches, states, exemptions."""

    def __init__(self, policy):
        self.policy = policy
        self.last_ms = {}
        self.open_since = {}
        self.windows = {}
        self.told = set()
        self.exemptions = {}
        self.agreed = set()

    def see(self, found, now_ms):
        """Take in a finding."""
        rule, start_ms = found.rule, found.window.start_ms
        told = rule, start_ms, found.level
        if found.corrects is not None:
            self.told = {known for known in self.told if known[:2] != told[:2]}
            if start_ms in self.windows.get(rule, ()):
                self.end(rule)
        elif found.level == "cleared":
            if start_ms >= max(self.windows.get(rule, ()), default=0):
                self.open_since.pop(rule, None)
                self.last_ms.pop(rule, None)
        elif told not in self.told and not self.is_exempt(rule, now_ms):
            self.told.add(told)
            self.last_ms[rule] = max(self.last_ms.get(rule, 0), found.event_time_ms)
            self.windows.setdefault(rule, set()).add(start_ms)
            if rule in LASTING:
                self.open_since[rule] = start_ms

    def end(self, rule):
        """Nothing is in breach any more."""
        for known in (self.last_ms, self.open_since, self.windows):
            known.pop(rule, None)
        self.agreed.discard(rule)

    def exempt(self, rule, since_ms, until_ms):
        """Nothing leads to anything between these times."""
        self.exemptions[rule] = (since_ms, until_ms)
        for name in [rule] if rule else list(self.windows):
            self.end(name)

    def is_exempt(self, rule, now_ms):
        spans = (self.exemptions.get(scope, (0, 0)) for scope in (rule, ""))
        return any(since_ms <= now_ms < until_ms for since_ms, until_ms in spans)

    def was_exempt(self, rule, time_ms):
        """Whether it was before and after: what is due in that very moment may come first."""
        return self.is_exempt(rule, time_ms - 1) and self.is_exempt(rule, time_ms)

    def is_in_breach(self, rule, now_ms):
        """Whether there is a cause for a restriction."""
        if rule in self.agreed or rule in self.open_since:
            return True
        days = self.policy.rules[rule].clear_after_days or self.policy.ladder.clear_after_days
        return self.last_ms.get(rule, -LONG_AFTER_MS) + days * DAY_MS > now_ms


class Enforcement:
    """What actions have put in force, and whether each of them may."""

    def __init__(self, policy):
        self.policy = policy
        self.carried_out = {}
        self.asked = {}
        self.approved = set()
        self.in_force = {}
        self.delivered = {}
        self.over, self.applied, self.repairs = set(), set(), set()

    def hear(self, result):
        """What was applied may have come back once it is over."""
        if result.status == "applied":
            self.applied.add(result.action_id)

    def take(self, action, causes):
        """Carry an action out, after a look at whether it is allowed."""
        before = self.carried_out.get(action.action_id)
        if action.human_review:
            assert action.action_id not in self.asked, "a person is asked once"
            self.asked[action.action_id] = action
        elif before is not None:
            assert before == action, "the same id is the same action"
            self._is_still_meant(action)
        else:
            self.carried_out[action.action_id] = action
            self._carry_out(action, causes)

    def _is_still_meant(self, action):
        current = self.in_force.get(action.service)
        if action.kind in STRENGTH:
            assert current == action, "a restriction that was lifted does not go out again"
        elif action.action_id in self.repairs:
            assert current is None or current.action_id != action.supersedes
        elif action.kind == "release" or (action.kind == "withdraw" and action.supersedes):
            assert current is None, "a release does not go out again over a new restriction"

    def _carry_out(self, action, causes):
        rule = self.policy.rules[action.rule]
        assert action.service == rule.service, "one service's breach restricts that service"
        if action.action_id in self.asked:
            assert action.action_id in self.approved, "a person has to agree"
        if action.kind in STRENGTH or action.kind in DONE_ONCE:
            self._was_announced(action, rule)
            assert not causes.was_exempt(action.rule, action.effective_ms)
        current = self.in_force.get(action.service)
        current_id = current.action_id if current else None
        if action.kind in STRENGTH:
            assert current_id == action.supersedes, "one restriction of a service at a time"
            if current and causes.is_in_breach(current.rule, action.effective_ms):
                in_doubt = [a.rule for a in self.asked.values() if a.kind == "propose_termination"]
                if current.rule not in in_doubt:
                    assert power(action) > power(current), "only a stronger one takes over"
            self.over.add(current_id)
            self.in_force[action.service] = action
        elif action.kind == "release" and action.supersedes in self.over:
            assert action.supersedes in self.applied, "what did not come back is not lifted again"
            self.repairs.add(action.action_id)
        elif action.kind == "release" or (action.kind == "withdraw" and action.supersedes):
            assert current_id == action.supersedes, "only what is in force is lifted"
            self.over.add(current_id)
            del self.in_force[action.service]
            causes.agreed.discard(current.rule)
        elif action.kind == "propose_termination":
            causes.agreed.add(action.rule)

    def _was_announced(self, action, rule):
        notice = action.notice
        assert notice.required
        if notice.waived_because:
            assert notice.waived_because == AT_ONCE[action.rule]
            assert action.kind == rule.restriction, "only the first step may come at once"
            return
        days = rule.notice_days or self.policy.ladder.notice_days
        first_ms = min(self.delivered[action.rule])
        assert first_ms <= notice.delivered_ms <= action.effective_ms, "a notice comes first"
        if action.rule not in AT_ONCE:
            assert notice.delivered_ms + days * DAY_MS <= action.effective_ms

    def check(self, causes, now_ms, clocks):
        """No restriction outlives its cause; some services may be further than others."""
        for action in self.in_force.values():
            now_ms = max(now_ms, clocks.get(action.service, 0))
            is_exempt = causes.is_exempt(action.rule, now_ms)
            in_breach = causes.is_in_breach(action.rule, now_ms)
            assert in_breach, f"{action.rule} outlives its cause"
            assert not is_exempt, f"{action.rule} outlives its exemption"


class History:
    """One random history: drawn, told to a partition, and checked as it goes."""

    def __init__(self, chance):
        self.chance = chance
        self.policy = chance.choice(POLICIES)
        self.rules = chance.sample(RULES, chance.randint(1, 4))
        self.now_ms = START_MS
        self.clock_ms = 0
        self.ladder = Ladder(0, self.policy)
        self.causes = Causes(self.policy)
        self.enforcement = Enforcement(self.policy)
        self.inputs = []
        self.early = set()
        """Places in `inputs` of answers that came before their action: no clock went by them."""
        self.foreseen = {}
        """Rules of actions that were answered before they went out, by id."""
        self.actions = []
        self.open = {}
        self.number = 0

    def run(self, steps):
        """Draw so many inputs, and let everything come to its end."""
        for _ in range(steps):
            if self.chance.random() < 0.75:
                self.now_ms += round(self.chance.choice((0.02, 0.3, 1, 3, 8, 30)) * DAY_MS)
            kind, record = self._input()
            if record is None:
                continue
            if kind == FINDINGS and self.chance.random() < 0.15:
                self._tell_early(record)
            else:
                self._tell(kind, record)
        self._finish()

    def _tell(self, kind, record):
        clock_ms = max(self.clock_ms, _time_ms(kind, record))
        is_early = kind == RESULTS and not is_out(self.ladder, record.action_id)
        if not _is_for_the_brake(kind, record) and not is_early:
            # Nothing older comes from now on, so a tick may go as far.
            self._came(self.ladder.tick(clock_ms))
            self.enforcement.check(self.causes, clock_ms, self._clocks())
        self._foresee(kind, record)
        if kind == RESULTS:
            self.enforcement.hear(record)
        self.inputs.append((kind, record))
        self.number += 1
        actions = getattr(self.ladder, kind)([record], [len(self.inputs)])
        self._came(actions)
        if kind == FINDINGS:
            # One of a closed period waits for its time.
            self._came(self.ladder.tick(clock_ms))
        if kind == DECISIONS and record.kind == "exempt":
            restricted = [action.rule for action in actions if action.kind in STRENGTH]
            exempt = [rule for rule in restricted if self.causes.is_exempt(rule, record.time_ms)]
            assert not exempt, "an exemption restricts nobody"
        if is_early:
            self.early.add(len(self.inputs))
        elif not _is_for_the_brake(kind, record):
            self.clock_ms = clock_ms

    def _tell_early(self, found):
        """What a finding leads to is answered before it, as after a crash."""
        answered_ms = self.now_ms + round(self.chance.choice((0, 0.01, 0.9)) * DAY_MS)
        ahead = moved(self.ladder)
        found_ms = max(self.clock_ms, _time_ms(FINDINGS, found))
        ahead.tick(found_ms)
        led_to = ahead.fold([found], [len(self.inputs) + 1]) + ahead.tick(found_ms + 1)
        actions = [action for action in led_to if not action.human_review]
        answers = [self._answer(action, answered_ms) for action in actions]
        for action, answer in zip(actions, answers, strict=True):
            self.foreseen[action.action_id] = action.rule
            self._tell(RESULTS, answer)
        self._tell(FINDINGS, found)
        ahead = moved(self.ladder)
        went_out = {action.action_id for action in self.actions + ahead.tick(found_ms + 1)}
        assert {action.action_id for action in actions} <= went_out
        ahead.tick(answered_ms)
        late = [e for e in dossier_of(ahead, UNPLACED).early if e.time_ms <= answered_ms]
        left = [early for early in late if is_out(ahead, early.action_id)]
        assert not left, "an answer finds its action"
        for answer in answers:
            order = orders_of(ahead).get(answer.action_id)
            was_done = answer.status in ("applied", "delivered")
            assert not (was_done and order and order.state == "sent"), "nobody waits for it"

    def _came(self, actions):
        begun_ms = {action.action_id: action.effective_ms for action in actions}
        for action in actions:
            if action.kind == "release":
                lasted = begun_ms.get(action.supersedes) != action.effective_ms
                assert lasted, "nobody is restricted for no time at all"
        self.actions += actions
        for action in actions:
            self.enforcement.take(action, self.causes)

    def _input(self):
        drawn = self.chance.random()
        if drawn < 0.5 or not self.actions:
            return FINDINGS, self._finding()
        if drawn < 0.82:
            return RESULTS, self._result()
        return DECISIONS, self._decision()

    def _finding(self):
        rule = self.chance.choice(self.rules)
        drawn = self.chance.random()
        days = (self.now_ms - START_MS) / DAY_MS
        known = self.open.get(rule)
        if known is not None and days - known > KNOWN_DAYS and rule not in LASTING:
            del self.open[rule]
            known = None
        if self._waits(rule):
            known = None
        if known is not None and drawn < 0.2:
            del self.open[rule]
            return finding(days, "cleared", rule, window=known, taken=drawn < 0.1)
        late = self.chance.choice((0, 0, 0, 0.5, 2)) if drawn > 0.6 else 0
        if rule in LASTING:
            if rule in self.open:
                return None
            late = 0
        level = "regular" if rule.startswith("voice") and drawn < 0.5 else "breach"
        window = days - late if drawn < 0.9 or known is None else known
        self.open[rule] = window
        known = {self.chance.choice(("closed", "reached")): days} if late else {}
        return finding(days - late, level, rule, window=window, **known)

    def _waits(self, rule):
        """Whether a finding of a rule waits for its time to pass: before, nothing becomes of it."""
        waiting = [w.rule for _, dossier in dossiers_of(self.ladder) for w in dossier.waiting]
        return rule in waiting

    def _result(self):
        over = [action for action in self.actions if action.action_id in self.enforcement.over]
        if over and self.chance.random() < 0.3:
            return self._answer(self.chance.choice(over), self.now_ms)
        action = self.chance.choice(self.actions[-6:])
        return None if action.human_review else self._answer(action, self.now_ms)

    def _answer(self, action, time_ms):
        good = "delivered" if action.kind == "notify" else "applied"
        status = self.chance.choice((good, good, good, good, "accepted", "failed", "expired"))
        return EnforcementResult(
            action_id=action.action_id,
            customer_id=CUSTOMER,
            status=status,
            time_ms=time_ms,
        )

    def _decision(self, kind=None, action_id=None):
        drawn = self.chance.random()
        asked = list(self.enforcement.asked)
        rule = until_ms = None
        if kind is None and asked and drawn < 0.6:
            kind, action_id = ("approve" if drawn < 0.4 else "reject"), asked[-1]
        elif kind is None:
            kind = self.chance.choice(("exempt", "snooze", "release_brake", "reject"))
            rule = self.chance.choice((None, *self.rules)) if kind != "reject" else self.rules[0]
            if kind in ("exempt", "snooze"):
                until_ms = self.now_ms + self.chance.randint(1, 40) * DAY_MS
        return Decision(
            decision_id=f"d-{self.number}",
            customer_id=CUSTOMER,
            kind=kind,
            decided_by="ada",
            reason="so",
            time_ms=self.now_ms,
            action_id=action_id,
            rule=rule,
            until_ms=until_ms,
        )

    def _foresee(self, kind, record):
        """What an input means, before anything came of it."""
        if kind == FINDINGS:
            clock_ms = self._clocks().get(self.policy.rules[record.rule].service, 0)
            self.causes.see(record, max(self.now_ms, clock_ms))
        elif kind == RESULTS and record.status == "delivered":
            done = self.enforcement.carried_out.get(record.action_id)
            rule = done.rule if done else self.foreseen[record.action_id]
            self.enforcement.delivered.setdefault(rule, []).append(record.time_ms)
        elif kind == DECISIONS and record.kind == "approve":
            self.enforcement.approved.add(record.action_id)
            asked = self.enforcement.asked[record.action_id]
            if asked.kind == "notify":
                self.enforcement.delivered.setdefault(asked.rule, []).append(record.time_ms)
        elif kind == DECISIONS and record.kind == "exempt":
            self.causes.exempt(record.rule or "", record.time_ms, record.until_ms)
        elif kind == DECISIONS and record.kind == "reject" and record.rule:
            if self.ladder.state.brake.held_of(record.rule):
                self.causes.end(record.rule)
        elif kind == DECISIONS and record.kind == "reject":
            in_force = [action.action_id for action in self.enforcement.in_force.values()]
            order = self._kept_back().get(record.action_id)
            if record.action_id in in_force:
                self.causes.end(self.enforcement.carried_out[record.action_id].rule)
            elif order is not None and order.kind != "notify":
                self.causes.end(order.rule)

    def _kept_back(self):
        """Actions that wait for a person or for the brake, by id."""
        orders = orders_of(self.ladder)
        return {key: order for key, order in orders.items() if order.state in KEPT_BACK}

    def _clocks(self):
        """How far each service is."""
        return {key.split()[0]: dossier.clock_ms for key, dossier in dossiers_of(self.ladder)}

    def _finish(self):
        """Every state ends, everything held is let go: then nothing may be left."""
        for rule, window in self.open.items():
            if rule in LASTING:
                days = (self.now_ms - START_MS) / DAY_MS
                self._tell(FINDINGS, finding(days, "cleared", rule, window=window))
        for action in list(self.enforcement.in_force.values()):
            self._tell(DECISIONS, self._decision("reject", action.action_id))
        for _ in range(3 if self.ladder.state.brake.engaged else 1):
            self._tell(DECISIONS, self._decision("release_brake"))
            self.now_ms += LONG_AFTER_MS
            self._came(self.ladder.tick(self.now_ms))
        assert self.enforcement.in_force == {}, "everything ends"
        assert self.ladder.state.cases == {}, (
            "everything is answered, released, superseded or expires"
        )

    def replay(self):
        """The same input, looked at by others at other times, some of whom took over.

        But for the brake, which stops whatever comes once it is on: there they look as often.
        """
        ladder, clock_ms, actions = Ladder(0, self.policy), 0, []
        for number, (kind, record) in enumerate(self.inputs, 1):
            if not _is_for_the_brake(kind, record):
                is_early = number in self.early
                until_ms = clock_ms if is_early else max(clock_ms, _time_ms(kind, record))
                if self.policy is BRAKED and not is_early:
                    actions += ladder.tick(until_ms)
                elif self.chance.random() < 0.3:
                    actions += ladder.tick(self.chance.randint(clock_ms, until_ms))
                clock_ms = until_ms
            if self.chance.random() < 0.3:
                ladder = moved(ladder)
            actions += getattr(ladder, kind)([record], [number])
            if self.policy is BRAKED and kind == FINDINGS:
                actions += ladder.tick(clock_ms)
        actions += ladder.tick(self.now_ms)
        return actions, ladder


def dossiers_of(ladder):
    """What is remembered, by key."""
    return [(key, unpack_dossier(packed)) for key, packed in ladder.state.cases.items()]


def orders_of(ladder):
    """Every action that is on its way, by id."""
    return {key: order for _, d in dossiers_of(ladder) for key, order in d.orders.items()}


def is_out(ladder, action_id):
    """Whether an action has gone out, and is remembered."""
    return any(dossier.is_out(action_id) for _, dossier in dossiers_of(ladder))


def power(action):
    """How strong a restriction is."""
    return strength(action.kind, action.parameters.get("rate_kbps", 0))


def _time_ms(kind, record):
    return record.known_ms if kind == FINDINGS else record.time_ms


def _is_for_the_brake(kind, record):
    """Whether a decision is about a rule, so that the customer it names has no part in it."""
    is_decision = kind == DECISIONS
    return is_decision and (
        record.kind == "release_brake" or bool(record.rule and not record.until_ms)
    )


def moved(ladder):
    """Another worker's partition, from rows and memory of a checkpoint."""
    heir = Ladder(0, ladder.state.timeline.base)
    for keys, values in ladder.state.changes(everything=True):
        heir.state.restore(keys, values)
    heir.state.recall(ladder.state.remember())
    return heir
