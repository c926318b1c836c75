"""Trials of a partition: policies that run beside the one for everybody."""

from detectors.fold.rule_set import RuleSet
from detectors.policies.timeline import TRIALS_MAX

HELD_TRIALS_MAX = 2 * TRIALS_MAX
"""Trials that run at once: those under way, and those that some kind of event has not left yet."""


class Trials:
    """The rules of each trial, beside those for everybody.

    Nothing of a trial is stored: after a restart it begins again with a copy of the stored state.

    Parameters
    ----------
    main
        The rules for everybody.
    """

    def __init__(self, main: RuleSet) -> None:
        self.main = main
        self.running: list[RuleSet] = []

    def rule_sets(self, time_ms: int) -> list[RuleSet]:
        """The rules for everybody and those of each trial; what begins by a time begins now."""
        if self.main.timeline.editions:
            self._begin_and_end(time_ms)
        return [self.main, *self.running]

    def _begin_and_end(self, time_ms: int) -> None:
        """Begin trials with a copy of everything, before any kind has reached their time.

        A trial that ended runs on until all kinds have reached its end.
        """
        timeline = self.main.timeline
        stepped_ms = self.main.progress.stepped_ms.values()
        before_ms = max(stepped_ms)
        newest_ms = max(before_ms, time_ms)
        lowest_ms = min((each for each in stepped_ms if each), default=0)
        known = [rules.trial for rules in self.running]
        under_way = reversed(timeline.trials_at(newest_ms))
        for trial in (*timeline.trials_begun(before_ms, newest_ms), *under_way):
            if trial not in known:
                known.append(trial)
                self.running.append(self.main.on_trial(trial))
        kept = [
            rules
            for rules in self.running
            if rules.trial is None or not timeline.is_over(rules.trial, lowest_ms)
        ]
        self.running = kept[-HELD_TRIALS_MAX:]

    def reserve(self, slots: int) -> None:
        """Make room for this many customers."""
        for rules in self.running:
            rules.reserve(slots)

    def forget_changes(self) -> None:
        """Let go of what a checkpoint would have stored."""
        for rules in self.running:
            rules.forget_changes()

    def stop(self) -> None:
        """Run none any more, until the next one is asked for."""
        self.running = []
