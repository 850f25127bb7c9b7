"""Findings in words, for the command line."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import indent

from proxy.judged import Finding
from proxy.policy.explain import Explained, Sentence, act_of
from proxy.policy.model import Policy
from proxy.policy.trial import Report

_NAME = 14  # columns of a rail's name
_DONE = {
    "pass": "passed",
    "steer": "noted",
    "redact": "redacted",
    "drop": "left out",
    "replace": "replaced",
    "end": "ended",
}


def checked(policy: Policy) -> Iterator[str]:
    """`kids-buddy@1  9 rails, 131 tests`, then what its writer should know."""
    tests = sum(len(bound.examples) for bound in policy.rails)
    yield f"{policy.label}  {_count(len(policy.rails), 'rail')}, {_count(tests, 'test')}"
    yield from (indent(str(note), "  ") for note in policy.notes)
    for bound in policy.rails:
        reviews = (sense.review() for sense in getattr(bound.rail, "senses", ()))
        yield from (f"  {bound.id}: {review}" for review in reviews if review)


def tested(report: Report) -> Iterator[str]:
    """One line for the policy, then one for each failure and each known miss that trips by now."""
    counts = ", ".join(f"{language} {count}" for language, count in sorted(report.languages.items()))
    result = _count(len(report.failures), "failure") if report.failures else "passed"
    misses = f", {_count(report.misses, 'known miss', 'known misses')}" if report.misses else ""
    total = _count(report.languages.total(), "test")
    yield f"{report.label}  {result}: {total}{f' ({counts})' if counts else ''}{misses}"
    for failure in [*report.failures, *report.promoted]:
        yield f"  {failure.where}: {failure.rail}: {failure.message}"


def explained(policy: Policy, messages: list[Explained]) -> Iterator[str]:
    """A conversation, message by message and sentence by sentence."""
    yield f"{policy.label} ({policy.digest[:12]})"
    yield from (indent(str(note), "  ") for note in policy.notes)  # such as which flows ask a model, which is not here
    for message in messages:
        yield ""
        yield f"{message.role} ({message.outcome.language})"
        width = min(40, max((len(repr(sentence.text)) for sentence in message.sentences), default=0))
        for number, sentence in enumerate(message.sentences, start=1):
            yield from _sentence(number, sentence, width)
        yield from _summary(message)


def _sentence(number: int, sentence: Sentence, width: int) -> Iterator[str]:
    head = f"{number:2} {_quoted(sentence.text):{width}}  "
    if sentence.sent is None:
        yield f"{head}not reached: the answer has ended"
        return
    if not sentence.findings:
        yield f"{head}nothing to say"
    for finding in sentence.findings:
        yield f"{head}{_finding(finding, sentence.text)}"
        head = " " * len(head)
    if sentence.sent.strip() not in ("", sentence.text.strip()):
        yield f"{' ' * (len(head) - 3)}-> {_quoted(sentence.sent.strip())}"


def _finding(finding: Finding, text: str) -> str:
    """`asks-private   replaced  asks_private: matched a phrase of the list: "come ti chiami"`."""
    done = _DONE[act_of(finding)]
    if finding.broken:
        done = f"broke ({finding.broken})"
    elif finding.mode == "shadow":
        done = f"in shadow, would have {done}"
    elif not finding.won:
        done = f"overruled, would have {done}"
    verdict = finding.verdict
    words = ", ".join(_quoted(text[span.start : span.end]) for span in verdict.spans)
    notes = ", ".join(verdict.steer)
    told = f"{verdict.why}{f': {words}' if words else ''}{f' (note: {notes})' if notes else ''}"
    wrote = f" (writes {_quoted(verdict.text)})" if verdict.text else ""
    return f"{finding.rail:{_NAME}} {done:9}  {told}{wrote}".rstrip()


def _summary(message: Explained) -> Iterator[str]:
    outcome = message.outcome
    if message.role == "assistant":
        yield f"   sent: {_quoted(outcome.text)}"
    elif outcome.asked:
        yield f"   the model reads: {_quoted(outcome.text)}"
        yield from (f"   with the note: {_quoted(note)}" for note in outcome.steer)
        if outcome.hold:
            yield f"   its answer is held: {outcome.hold}"
    else:
        yield "   the house answers, the model is not asked"


def _quoted(text: str) -> str:
    return '"' + text.replace("\n", "\\n") + '"'


def _count(number: int, noun: str, nouns: str = "") -> str:
    return f"{number} {noun if number == 1 else nouns or noun + 's'}"
