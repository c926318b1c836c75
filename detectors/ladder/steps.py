"""From findings to actions: notice first, then the rule's restriction, then suspension, and back.

docs/LADDER.md draws the stages of a case. Other causes of a change of stage are in `timers` (time),
`answers` (what enforcement answered) and `decisions` (what people decided).
"""

from detectors.ladder.actions import build, renewed
from detectors.ladder.dossier import KEPT_BACK, Case, Order, lasts, needs_regular, notice_end_ms
from detectors.ladder.orders import dispatch, hand_out
from detectors.ladder.restrictions import apply_strongest
from detectors.ladder.turn import Turn
from detectors.rules.registry import RULES
from schemas.policy import RuleParameters
from schemas.records import Finding
from schemas.safeguards import DONE_ONCE

CHANNEL = "channel"
PERSON = "person"
"""The channel after the last one: a person makes sure that the customer knows."""


def take_finding(turn: Turn, finding: Finding) -> None:
    """Apply a finding, unless it was applied before."""
    if finding.level == "cleared":
        _cleared(turn, finding)
        return
    rule = turn.policy.rules[finding.rule]
    case = turn.case(finding.rule) or Case()
    if finding.finding_id in case.seen or turn.is_exempt(finding.rule):
        return
    turn.dossier.cases[finding.rule] = case
    if finding.level == "early":
        _warn(turn, finding, case)
        return
    case.see(finding, lasts(finding, rule))
    if rule.restriction == "report_upstream":
        # It was done to the customer, not by them: there is nothing to notify or restrict.
        case.begin(finding)
        dispatch(turn, build(turn, finding.rule, case, "report_upstream"))
    elif case.has_consent(finding):
        case.spent_ms = case.window_ms
    elif turn.now_ms >= case.snoozed_until_ms:
        _answer_breach(turn, finding, rule, case)


def _warn(turn: Turn, finding: Finding, case: Case) -> None:
    """Notify the customer, once a window, that the limit is near.

    A window that begins later than the one of a restriction shows that its cause is over.
    """
    is_new = finding.window.start_ms > case.window_ms
    if not is_new or case.has_consent(finding) or turn.now_ms < case.snoozed_until_ms:
        return
    if case.stage == "restricted":
        relieve(turn, finding.rule)
    turn.drop_where(finding.rule, is_open_matter)
    case.see(finding, is_lasting=False)
    _notify(turn, finding, case)


def _answer_breach(turn: Turn, finding: Finding, rule: RuleParameters, case: Case) -> None:
    """Notify, restrict or suspend, whichever comes next; often nothing does."""
    kept_back = turn.dossier.kept_back(finding.rule)
    is_breach = finding.level == "regular" or not needs_regular(rule)
    if _was_warned(turn, finding.rule, case):
        climb(turn, finding.rule)
    elif case.stage in ("open", "notified") and kept_back is None:
        if not case.delivered_ms:
            if not turn.dossier.is_notifying(finding.rule):
                _announce(turn, finding, rule, case)
        elif is_breach and finding.event_time_ms >= notice_end_ms(case, rule, turn.policy):
            climb(turn, finding.rule)
    elif case.stage == "released" and finding.event_time_ms > case.released_ms:
        if not case.delivered_ms:
            _announce(turn, finding, rule, case)
        elif is_breach and finding.window.start_ms > case.spent_ms:
            case.begin(finding)
            case.stage = "suspended"
            apply_strongest(turn, rule.service)


def _was_warned(turn: Turn, rule_name: str, case: Case) -> bool:
    """Whether an early warning has announced what is done at once with the breach."""
    is_announced = case.stage == "notified" or turn.dossier.is_notifying(rule_name)
    is_at_once = turn.policy.rules[rule_name].at_once
    warns = RULES[rule_name].declaration.warns_early
    return warns and is_at_once and is_announced and case.stage in ("open", "notified")


def _announce(turn: Turn, finding: Finding, rule: RuleParameters, case: Case) -> None:
    """Open an episode with a notice; a rule with `at_once` restricts together with it."""
    if _notify(turn, finding, case) and rule.at_once:
        climb(turn, finding.rule)


def _notify(turn: Turn, finding: Finding, case: Case) -> bool:
    """Open an episode with a notice; False if the brake had no room for it."""
    case.end_episode()
    case.begin(finding)
    channel = {CHANNEL: turn.policy.ladder.channels[0]}
    if dispatch(turn, build(turn, finding.rule, case, "notify", more=channel)) != "dropped":
        return True
    case.end_episode()
    return False


def climb(turn: Turn, rule_name: str) -> None:
    """Apply the rule's restriction or single act, unless the window has produced it already."""
    rule, case = turn.policy.rules[rule_name], turn.dossier.cases[rule_name]
    if case.window_ms <= case.spent_ms:
        return
    if rule.restriction not in DONE_ONCE:
        case.stage = "suspended" if rule.restriction == "suspend" else "restricted"
        apply_strongest(turn, rule.service)
        return
    if dispatch(turn, build(turn, rule_name, case, rule.restriction)) == "dropped":
        case.spent_ms = case.window_ms


def try_next_channel(turn: Turn, rule_name: str) -> None:
    """Send the notice by the next channel, and after the last one ask a person."""
    case, channels = turn.dossier.cases[rule_name], turn.policy.ladder.channels
    tried = len(case.notices)
    last = case.notices[-1]
    channel = channels[tried] if tried < len(channels) else PERSON
    turn.drop_where(rule_name, is_notice)
    action = build(turn, rule_name, case, "notify", supersedes=last, more={CHANNEL: channel})
    if channel == PERSON:
        action = renewed(turn, case, action, human_review=True)
    if dispatch(turn, action) == "dropped":
        give_up_notice(case)


def give_up_notice(case: Case) -> None:
    """Nobody could notify the customer: end the episode, unless it needed no notice."""
    if case.stage in ("open", "notified"):
        case.end_episode()
    case.notices = []


def deliver(turn: Turn, rule_name: str, time_ms: int) -> None:
    """A notice was delivered: the notice period begins."""
    case = turn.dossier.cases[rule_name]
    case.delivered_ms = max(time_ms, case.announced_ms)
    case.notices = []
    turn.drop_where(rule_name, is_notice)


def propose_termination(turn: Turn, rule_name: str) -> None:
    """The cause is still there after the longest suspension: ask a person about a termination."""
    case = turn.dossier.cases[rule_name]
    case.termination = "proposed"
    if dispatch(turn, build(turn, rule_name, case, "propose_termination")) == "dropped":
        relieve(turn, rule_name)


def relieve(turn: Turn, rule_name: str, finding: Finding | None = None) -> None:
    """The cause is gone: release the restriction, and remember that it was in force."""
    case = turn.dossier.cases[rule_name]
    service = turn.service_of(rule_name)
    turn.drop_where(rule_name, is_open_matter)
    case.fall_back()
    if case.was_restricted:
        case.stage, case.released_ms = "released", turn.now_ms
    apply_strongest(turn, service, finding)
    if RULES[rule_name].declaration.urgency == "contract":
        # The plan itself provides for the restriction, so a repetition is no abuse.
        case.end_episode()


def end_episode(turn: Turn, rule_name: str) -> None:
    """Lift the restriction of a case; the next breach begins anew with a notice."""
    case, service = turn.dossier.cases[rule_name], turn.service_of(rule_name)
    turn.drop_where(rule_name, is_open_matter)
    case.stage = "open"
    apply_strongest(turn, service)
    case.end_episode()
    case.ended_ms = turn.now_ms


def _cleared(turn: Turn, finding: Finding) -> None:
    """Apply a "cleared" finding: a breach is over, or a correction took it back."""
    case, is_corrected = turn.case(finding.rule), finding.corrects is not None
    if is_corrected and not finding.closed_period:
        turn.dossier.wait_no_more(finding)
    elif turn.dossier.awaits(finding):
        turn.dossier.waiting.append(finding)
        return
    if case is None:
        return
    if is_corrected:
        _withdraw(turn, finding, case)
    elif finding.window.start_ms >= case.window_ms:
        case.lasts = False
        if case.stage not in ("restricted", "suspended"):
            turn.drop_where(finding.rule, is_open_matter)
        elif case.termination != "approved":
            relieve(turn, finding.rule, finding)


def _withdraw(turn: Turn, finding: Finding, case: Case) -> None:
    """Undo what rests on a breach that a correction took back, and tell the customer.

    The finding's id is forgotten, because a breach that comes back in the same window has the same.
    """
    start_ms = finding.window.start_ms
    taken_back = [seen for seen, window_ms in case.seen.items() if window_ms == start_ms]
    for finding_id in taken_back:
        del case.seen[finding_id]
    if not taken_back:
        return
    case.withdrawn = True
    if case.stage != "open":
        held = turn.dossier.in_force_of(finding.rule)
        supersedes = held[1].action_id if held else None
        withdrawal = build(
            turn, finding.rule, case, "withdraw", finding=finding, supersedes=supersedes
        )
        turn.drop_where(finding.rule, lambda order: True)
        hand_out(turn, withdrawal)
    end_episode(turn, finding.rule)
    case.proof, case.lasts, case.last_breach_ms = b"", False, 0
    case.window_ms = case.spent_ms = -1


def is_notice(order: Order) -> bool:
    """Whether an action is a notice."""
    return order.kind == "notify"


def is_open_matter(order: Order) -> bool:
    """Whether an action is pointless once the cause is gone: a notice, or one that is kept back."""
    return order.kind == "notify" or order.state in KEPT_BACK
