"""judge: a guard model of the operator's gives a second opinion on a message or an answer.

Answers the model card's "should be tested with adult supervision and additional safety layers". The model is one of
your own model servers, asked by its name: Llama Guard, ShieldGemma, Granite Guardian, Qwen3Guard, NemoGuard, or any
other by a question to be answered with yes or no. What the policy's rails mask, it reads masked. Put the rail last: it
sees what the rails before it found, does not ask where one of them has decided, and with `when: suspicion` asks only
where one of them flagged the text or gave the model a note, or where the learned model is in doubt. In `kindrail test`
and `explain` no model is asked: there it passes.
"""

from __future__ import annotations

import json
import secrets
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from proxy.turn import (
    Act,
    BackendFault,
    Hold,
    House,
    Options,
    RailFault,
    Role,
    SayKey,
    Seconds,
    Segment,
    SteerKey,
    Turn,
    Verdict,
    nearest,
)
from rails._guards import GUARDS, Question, Talk
from rails._sense import Sense

_KEPT = 10_000  # verdicts
_DECIDED = frozenset({Act.REPLACE, Act.DROP, Act.END})


class RailOptions(Options):
    """Options of a `judge` rail."""

    model: str = Field(min_length=1, description="The guard's name at your model servers.")
    format: Literal[
        "llama-guard",
        "shieldgemma",
        "granite-guardian",
        "granite-guardian-4",
        "qwen3guard",
        "nemoguard",
        "question",
    ] = Field(description="How it is asked and what it answers: its family, or `question` for any model.")
    question: str = Field(
        "",
        description="For `question`: what is asked, so that yes means harm. For ShieldGemma and Granite Guardian: a "
        "principle or criterion of your own, in the place of theirs.",
    )
    categories: list[str] = Field(
        [], description="The categories that count, as the model names them, such as `S11`. Left out: all of them."
    )
    controversial: bool = Field(
        False, description="Whether what Qwen3Guard calls controversial counts as unsafe (`true` or `false`)."
    )
    sides: Literal["both", "user", "assistant"] = Field("both", description="Whose texts are judged.")
    when: Literal["suspicion", "sample", "always"] = Field(
        "suspicion", description="When it is asked: on suspicion, in a share of the turns, or always."
    )
    sample: float = Field(
        0.0,
        ge=0,
        le=1,
        description="In which share of the turns it is asked, such as `0.05`; on suspicion besides.",
    )
    suspects: list[str] = Field(
        [], description="Whose flags and notes are a suspicion: ids of rails before this one. Left out: all of them."
    )
    user_say: SayKey = Field("", description="The line that answers an unsafe message; the model is not asked.")
    user_steer: SteerKey = Field("", description="In place of `user_say`: a note for the model, which then answers.")
    say: SayKey = Field("", description="The line in the place of an unsafe answer. Not given: it is left out.")
    hold: Literal["message", "sentence"] = Field(
        "message",
        description="How an answer is judged: whole, before its first word leaves, or sentence by sentence with what "
        "has left before. On suspicion an answer is held whole only where the message before it was suspect.",
    )
    deadline: Seconds = Field(2.0, gt=0, description="How long the judge may take, in the place of `late_after`.")
    when_broken: Literal["closed", "open"] = Field(
        "closed", description="What happens to the text where the judge fails or is late: it is held back, or passes."
    )
    cache_for: Seconds = Field(
        600.0, gt=0, description="How long a verdict is kept in memory for the same text, under a hash with a key."
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        known = GUARDS[self.format].categories
        for one in self.categories:
            if one not in known:
                hint = nearest(one, known) or f"it has {', '.join(known) or 'none'}"
                raise ValueError(f"`{self.format}` has no category `{one}`; {hint}")
        if self.format == "question" and not self.question:
            raise ValueError("`format: question` needs the `question`")
        if self.question and self.format in ("llama-guard", "qwen3guard", "nemoguard"):
            raise ValueError(f"`{self.format}` asks its own question: leave `question` out")
        if self.sides != "assistant" and bool(self.user_say) == bool(self.user_steer):
            raise ValueError("for the user's side it needs either `user_say` or `user_steer`")
        if (self.sides == "assistant" and (self.user_say or self.user_steer)) or (self.sides == "user" and self.say):
            raise ValueError(f"a line or note for a side that `sides: {self.sides}` leaves out does nothing")
        if self.when == "sample" and not self.sample:
            raise ValueError("`when: sample` needs the `sample`, such as 0.05")
        return self


class Rail:
    """Asks the guard where there is reason to.

    `late_after` and `fails` are its deadline and its own `when_broken`, for the line; `asks` is the model's name.
    """

    content: ClassVar[frozenset[Role]] = frozenset({"user", "assistant"})
    shape: ClassVar[frozenset[Role]] = frozenset()
    needs: ClassVar[Hold] = "sentence"

    def __init__(self, key: str, options: RailOptions, house: House) -> None:
        self.key, self._options, self._guard = key, options, GUARDS[options.format]
        self.late_after, self.fails, self.asks = options.deadline, options.when_broken, options.model
        self._others = house.ids - {key.partition(":")[0]}
        for one in options.suspects:
            if one not in self._others:
                raise ValueError(f"no other rail `{one}`; {nearest(one, self._others)}".removesuffix("; "))
        self._suspects = options.suspects or self._others
        self._sense = Sense("unsafe", house, key) if options.when == "suspicion" else None
        self._kept = _Kept(options.cache_for)

    async def check(self, segment: Segment) -> Verdict:
        """User: END with `user_say`, or a note. Assistant: REPLACE with `say`, or DROP.

        Raises `RailFault` where the model cannot be asked, or answers in a form that is not its own.
        """
        turn, options = segment.turn, self._options
        if segment.past or turn.trial or not segment.text.strip() or self._decided(segment):
            return Verdict()
        answer = segment.role == "assistant"
        suspected = (self.key, "suspected")  # in the turn's memo
        due = options.when == "always" or self._sampled(turn) or turn.memo.get(suspected) or self._suspicious(segment)
        if not due:
            return Verdict()
        if not answer:
            turn.memo[suspected] = True  # so that the answer is judged, too
        told = await self._unsafe(_talk(segment), turn) if options.sides in ("both", segment.role) else ""
        verdict = self._verdict(answer, f"{options.model} calls it {told}") if told else Verdict()
        whole = not answer and options.sides != "user" and options.hold == "message"
        return replace(verdict, hold="message") if whole else verdict

    def _verdict(self, answer: bool, why: str) -> Verdict:
        options, flags = self._options, frozenset({"review"})
        if answer:
            return Verdict(Act.REPLACE if options.say else Act.DROP, say=options.say, why=why, flags=flags)
        if options.user_say:
            return Verdict(Act.END, say=options.user_say, why=why, flags=flags)
        return Verdict(steer=(options.user_steer,), why=why, flags=flags)

    # -- whether it is asked -------------------------------------------------------------------------------------------

    def _decided(self, segment: Segment) -> bool:
        """Whether an enforced rail before this one has done with the text: then no second opinion is needed, and none
        keeps a child in danger waiting.
        """
        found = (segment.turn.memo.get(segment.asked(one)) for one in self._others)
        return any(verdict is not None and verdict.act in _DECIDED for verdict in found)

    def _sampled(self, turn: Turn) -> bool:
        """The same for a turn whenever it is asked."""
        drawn = blake2b(f"{self._options.model} {turn.id}".encode(), digest_size=8).digest()
        return int.from_bytes(drawn) < self._options.sample * 2**64

    def _suspicious(self, segment: Segment) -> bool:
        if self._sense is None:
            return False
        return any(self._suspicions(segment)) or self._sense.hear(segment, hinted=True) is not None

    def _suspicions(self, segment: Segment) -> Iterator[bool]:
        """What the rails before this one, those in shadow too, have found in the text."""
        for one in self._suspects:
            for key in (one, f"{one}:shadow"):
                verdict: Verdict | None = segment.turn.memo.get(segment.asked(key))
                if verdict is not None:
                    yield bool(verdict.flags or verdict.steer or verdict.act in _DECIDED)

    # -- what it says --------------------------------------------------------------------------------------------------

    async def _unsafe(self, talk: Talk, turn: Turn) -> str:
        """What the guard finds unsafe, if it counts: `unsafe`, and what it is about; else nothing."""
        known = self._kept.get(talk, turn.now)
        if known is None:
            known = await self._asked(talk, turn)
            self._kept.put(talk, turn.now, known)
        return known

    async def _asked(self, talk: Talk, turn: Turn) -> str:
        options, answer = self._options, talk.answer is not None
        for question in self._guard.ask(talk.plain(), options.categories, options.question):
            judgement = self._guard.read(await self._answer(question, turn), answer)
            about = judgement.about or ((question.category,) if question.category else ())
            if self._counts(judgement.level, about):
                names = ", ".join(self._guard.categories.get(one, one) for one in about)
                return f"{judgement.level}: {names}" if names else judgement.level
        return ""

    async def _answer(self, question: Question, turn: Turn) -> str:
        if turn.judge is None:
            raise RailFault("there is no model server that could be asked")
        try:
            return await turn.judge(self._options.model, question.messages, question.settings)
        except BackendFault as fault:
            raise RailFault(f"the model `{self._options.model}` could not be asked ({fault.status})") from None

    def _counts(self, level: str, about: Sequence[str]) -> bool:
        """Whether this is reason to act. What names no category cannot be left out by one."""
        if level == "safe" or (level == "controversial" and not self._options.controversial):
            return False
        wanted = self._options.categories
        return not wanted or not about or not set(wanted).isdisjoint(about)


class _Kept:
    """The last verdicts, least recently used out first. Keys are digests under a key of this process: no text stays."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._secret = secrets.token_bytes(32)
        self._found: OrderedDict[bytes, tuple[float, str]] = OrderedDict()

    def get(self, talk: Talk, now: float) -> str | None:
        """The verdict on this talk, if it is not too old. now: Unix seconds."""
        key = self._key(talk)
        until, verdict = self._found.get(key, (0.0, ""))
        if now >= until:
            return None
        self._found.move_to_end(key)
        return verdict

    def put(self, talk: Talk, now: float, verdict: str) -> None:
        """Keeps a verdict."""
        self._found[self._key(talk)] = now + self._seconds, verdict
        if len(self._found) > _KEPT:
            self._found.popitem(last=False)

    def _key(self, talk: Talk) -> bytes:
        said = json.dumps([talk.user, talk.answer]).encode()
        return blake2b(said, digest_size=16, key=self._secret).digest()


def _talk(segment: Segment) -> Talk:
    """A message, or with the last message an answer as it would have left by now."""
    if segment.role != "assistant":
        return Talk(segment.text)
    held = segment.before[len(segment.before.rstrip()) :] if segment.sent else ""  # leaves with what follows
    return Talk(segment.turn.user, segment.sent + held + segment.text)
