"""Sentences about the signs that make up a score, as a finding's evidence names them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from detectors.rules.families.cohort_spread import LOG_BINS, LOGARITHMIC
from schemas.records import Finding
from streams.explain.texts import Texts
from streams.explain.wording import Wording

MACHINE_SIGNS = ("near_constant_intervals", "one_size_or_party", "no_rhythm_of_the_day")

Evidence = Mapping[str, Any]


def signs_of(finding: Finding, texts: Texts, words: Wording) -> list[str]:
    """Write a sentence for each sign that speaks for a finding.

    Parameters
    ----------
    finding
        The finding.
    texts
        The words of the language.
    words
        Writes the amounts.

    Returns
    -------
    The sentences; none for a rule that only counts.
    """
    tell = TELLERS.get(finding.rule)
    return list(tell(finding, texts, words)) if tell else []


def _gateway(finding: Finding, texts: Texts, words: Wording) -> Iterator[str]:
    """Each sign that holds, with what it adds to the score."""
    evidence = finding.evidence
    counts = {name: words.number(n) for name, n in evidence.items() if type(n) is int}
    for name, weight in evidence["terms"].items():
        if weight:
            points = words.amount(weight, finding.unit)
            yield texts.signs["gateway"][name].format(points=points, **counts)


def _machine(finding: Finding, texts: Texts, words: Wording) -> Iterator[str]:
    """The signs of each kind of use; the kind with the fewest of them gives the score."""
    for kind, seen in finding.evidence["kinds"].items():
        for name in MACHINE_SIGNS:
            if seen[name]:
                yield texts.signs["machine"][name].format(service=texts.service[kind])


def _deviation(finding: Finding, texts: Texts, words: Wording) -> Iterator[str]:
    """Each feature of the week that lies at least as far from the others' as the limit."""
    for name, seen in finding.evidence["features"].items():
        if seen["z_per_mille"] >= finding.limit:
            tell, median = _measure(name, words), seen["median"]
            yield texts.signs["deviation"][name].format(
                value=tell(seen["value"]),
                median=tell(LOG_BINS.middle(median) if name in LOGARITHMIC else median),
                times=words.amount(seen["z_per_mille"], finding.unit),
            )


def _measure(feature: str, words: Wording) -> Callable[[int], str]:
    if feature == "frequency":
        return words.number
    return words.seconds if feature == "connection" else words.percent


TELLERS: dict[str, Callable[[Finding, Texts, Wording], Iterator[str]]] = {
    "gateway": _gateway,
    "machine": _machine,
    "deviation": _deviation,
}
"""The rules that score, and how their signs are written."""
