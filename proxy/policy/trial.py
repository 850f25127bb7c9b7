"""A text through the line, without a backend: how a policy's own tests are run, and `explain` too.

An answer is run whole, character by character and in random chunks. All must come to the same: what a rail says may
depend on the text alone, never on how a model server happened to cut it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from proxy.answer import Answer, Piece
from proxy.judged import Finding
from proxy.line import Line
from proxy.memo import Memo
from proxy.policy.model import Bound, Example, Policy
from proxy.turn import Act, Heard, Hold, Turn, guess_language

_RANDOM_RUNS = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a text: what is sent on, and what the rails found."""

    text: str
    findings: tuple[Finding, ...]
    language: str
    asked: bool = True  # user side: whether the model is asked at all
    steer: tuple[str, ...] = ()  # user side: the notes that the model gets
    hold: Hold | None = None  # user side: how much of the answer is kept back, where a rail asked for more
    pieces: tuple[Piece, ...] = ()  # assistant side: as the line settled them

    def tripped(self) -> set[str]:
        """The ids of the rails that did not simply pass; a note to the model counts."""
        return {finding.rail for finding in self.findings if speaks(finding)}


@dataclass(frozen=True, slots=True)
class Failure:
    """A test that failed, or a known miss that is none any more."""

    where: str  # file:line
    rail: str
    message: str


@dataclass(slots=True)
class Report:
    """The outcome of all tests of one policy."""

    label: str
    languages: Counter[str] = field(default_factory=Counter)  # how many tests were run in each
    misses: int = 0  # known misses that still miss
    failures: list[Failure] = field(default_factory=list)
    promoted: list[Failure] = field(default_factory=list)  # known misses that trip by now


def speaks(finding: Finding) -> bool:
    """Whether the rail did more than pass."""
    return finding.verdict.act is not Act.PASS or bool(finding.verdict.steer)


class Talk:
    """One session without a backend: its turns are a second apart, so that a run can be repeated to the letter.

    settings: what the app has set, for every turn.
    """

    def __init__(self, policy: Policy, settings: Mapping[str, object] = MappingProxyType({})) -> None:
        self._settings = settings
        self._turns = 0
        self._history: list[Heard] = []
        self.line = Line(policy, Turn("trial", policy.languages[0], trial=True), Memo())

    def begin(self, text: str, language: str = "") -> None:
        """The next turn, in `language` or else in that of `text`; what the rails remember goes with it."""
        policy, last = self.line.policy, self.line.turn
        self.line = Line(policy, replace(
            last,
            id=f"trial-{self._turns}",
            language=language or guess_language(text, policy.languages, last.language),
            now=float(self._turns),
            memo={},
            history=tuple(self._history),
            settings=self._settings,
        ), Memo(), self.line.vault)  # fmt: skip
        self._turns += 1

    async def hear(self, text: str) -> Outcome:
        """The user says `text`."""
        line, before = self.line, len(self.line.findings)
        line.turn.user = text
        hearing = await line.hear([Heard("user", text)])
        self._history.append(Heard("user", text))
        if hearing.end is not None:
            self._history.append(Heard("assistant", hearing.end))
        said = hearing.texts[0] if hearing.end is None else hearing.end
        hold = line.hold if line.hold != line.policy.hold else None
        findings = tuple(line.findings[before:])
        return Outcome(said, findings, line.turn.language, hearing.end is None, hearing.steer, hold)

    async def answer(self, chunks: Sequence[str]) -> Outcome:
        """The model says `chunks`."""
        line, before = self.line, len(self.line.findings)
        answering = Answer(line)
        pieces: list[Piece] = []
        for chunk in chunks:
            pieces += await answering.feed(chunk)
        pieces += await answering.finish()
        self._history.append(Heard("assistant", answering.sent))
        findings = tuple(line.findings[before:])
        return Outcome(line.restored(answering.sent), findings, line.turn.language, pieces=tuple(pieces))


async def run_tests(policy: Policy) -> Report:
    """Every test of every rail, and law 9: no line of the house trips a rail of its own policy."""
    report = Report(policy.label)
    for bound in policy.rails:
        alone = _enforcing(policy, bound)
        for example in bound.examples:
            await _try(alone, bound, example, report)
    report.failures += [failure async for failure in _house_lines(policy)]
    return report


def _enforcing(policy: Policy, bound: Bound) -> Policy:
    """The policy with this rail enforced: a rail's tests say what it does once it is."""
    rails = tuple(replace(one, mode="enforce") if one is bound else one for one in policy.rails)
    return replace(policy, rails=rails)


async def _try(policy: Policy, bound: Bound, example: Example, report: Report) -> None:
    outcomes = [await _outcome(policy, example, chunks) for chunks in _chunkings(example)]
    report.languages[outcomes[0].language] += 1
    problem = _problem(bound.id, example, outcomes)
    if example.expects == "known_misses":
        if bound.id in outcomes[0].tripped():
            message = f"trips by now, move it up to `trips`: {example.text!r}"
            report.promoted.append(Failure(example.where, bound.id, message))
        else:
            report.misses += 1
    elif problem:
        report.failures.append(Failure(example.where, bound.id, problem))


async def _outcome(policy: Policy, example: Example, chunks: Sequence[str]) -> Outcome:
    """One run. Earlier turns, and the user's beside an answer, are heard first, so that the rails know what it
    follows; of their findings only what broke is told.
    """
    talk = Talk(policy, example.settings)
    before: list[Finding] = []
    for text in example.earlier:
        talk.begin(text, example.language)
        before += (await talk.hear(text)).findings
    talk.begin(example.text, example.language)
    if example.user:
        before += (await talk.hear(example.user)).findings
    last = await (talk.hear(example.text) if example.role == "user" else talk.answer(chunks))
    return replace(last, findings=(*(one for one in before if one.broken), *last.findings))


def _chunkings(example: Example) -> Iterator[Sequence[str]]:
    """The text whole; an answer also character by character and, with a seed of its own, at random."""
    yield [example.text]
    if example.role == "user":
        return
    yield list(example.text)
    dice = random.Random(example.text)  # noqa: S311 - chunk borders, no secret
    for _ in range(_RANDOM_RUNS):
        cuts = sorted(dice.sample(range(1, len(example.text)), k=min(4, len(example.text) - 1)))
        yield [example.text[start:end] for start, end in zip([0, *cuts], [*cuts, len(example.text)], strict=True)]


def _problem(rail: str, example: Example, outcomes: Sequence[Outcome]) -> str:
    """What is wrong with the outcome, in words; empty if it is as expected."""
    first = outcomes[0]
    if broken := next((finding for finding in first.findings if finding.broken), None):
        return f"`{broken.rail}` broke ({broken.broken}): {example.text!r}"
    for other in outcomes[1:]:
        if (other.text, other.tripped()) != (first.text, first.tripped()):
            return f"depends on how the text is cut: {example.text!r} becomes {first.text!r} and {other.text!r}"
    if example.expects == "trips" and rail not in first.tripped():
        others = ", ".join(sorted(first.tripped()))
        return f"does not trip: {example.text!r}" + (f" (only {others})" if others else "")
    if example.expects == "passes" and (found := [one for one in first.findings if one.rail == rail]):
        return f"does not pass: {example.text!r} ({found[0].verdict.why or found[0].verdict.act})"
    if example.becomes is not None and example.becomes != first.text:
        return f"becomes {first.text!r} instead of {example.becomes!r}: {example.text!r}"
    return ""


async def _house_lines(policy: Policy) -> AsyncIterator[Failure]:
    judges = {bound.id for bound in policy.rails if "assistant" in bound.content}
    for key, lines in policy.say.items():
        name = key if key in policy.places else f"say.{key}"
        for language in policy.languages:
            for text in (filled for line in lines.get(language, ()) for filled in _with_numbers(policy, line)):
                talk = Talk(policy)
                talk.begin(text, language)
                outcome = await talk.answer([text])
                for rail in sorted(outcome.tripped() & judges):
                    message = f"trips on the house's own line `{name}.{language}`: {text!r}"
                    yield Failure(policy.places.get(key, policy.file), rail, message)


def _with_numbers(policy: Policy, line: str) -> list[str]:
    """The line as it is said: with each of the policy's help lines, where it tells one."""
    return [line.replace("{help}", number) for number in policy.numbers] if "{help}" in line else [line]
