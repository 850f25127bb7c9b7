"""sense: what a user or a model means, heard by lists of plain words and by the learned model together.

Answers the model card's "may ask for personal information in some cases" and "may mishandle unsafe play requests such
as real fire or risky movement". Most of what a child or a small model means is said in words that no list has, and the
learned model was taught those (`training/README.md`). Words of a list stand in many a harmless sentence, too: a hit
that is all, or nearly all, that is said decides; one in a longer sentence lowers the bar for the model, and decides
where no model is asked. A sentence of the answer is judged with the user's last turn and with what the answer has said
before, so that an agreement ("Can I light it?" - "Yes, go on!") and an invitation in instalments count. What the
policy's own tests say of a sentence counts more than either.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from proxy.turn import Act, Hold, House, ListName, Options, Role, SayKey, Segment, Span, SteerKey, Verdict
from rails._heard import found, says_all
from rails._sense import Sense, Sensed

Head = Literal["childrisk", "unsafe", "risky", "asks", "persona"]


class RailOptions(Options):
    """Options of a `sense` rail: a question for the user's side, one for the assistant's, or both."""

    user_hears: Literal["childrisk", "unsafe", ""] = Field(
        "",
        description="What the learned model listens for in the user's messages: `childrisk` (something dangerous is "
        "about to be done) or `unsafe` (a topic that is no child's, or that wants care).",
    )
    user_says: ListName = Field("", description="A list of phrases that is looked for there, too.")
    user_say: SayKey = Field("", description="The line that answers such a message; the model is not asked.")
    user_steer: SteerKey = Field(
        "", description="In place of `user_say`, or for what only wants care: a note for the model."
    )
    assistant_hears: Literal["risky", "asks", "persona", ""] = Field(
        "",
        description="What it listens for in the answers: `risky` (an invitation to danger), `asks` (asking for what is "
        "private) or `persona` (what a model must not claim to be, promise, sell or prescribe).",
    )
    assistant_says: ListName = Field("", description="A list of phrases that is looked for there, too.")
    say: SayKey = Field("", description="The line that replaces such a sentence. Not given: the sentence is left out.")
    say_for: dict[str, SayKey] = Field({}, description="Other lines for some of the kinds, such as `meet`.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not (self.user_hears or self.user_says or self.assistant_hears or self.assistant_says):
            raise ValueError("a `sense` rail needs something to hear: give `user_hears` or `assistant_hears`")
        if (self.user_hears or self.user_says) and not (self.user_say or self.user_steer):
            raise ValueError("what the user says needs `user_say` (the house answers) or `user_steer` (a note)")
        return self


class Rail:
    """Hears what the lists and the learned model know, each side of the conversation with its own question."""

    content: ClassVar[frozenset[Role]] = frozenset({"user", "assistant"})
    shape: ClassVar[frozenset[Role]] = frozenset()
    needs: ClassVar[Hold] = "sentence"
    of_session: ClassVar[bool] = True  # what the other side had said before counts

    def __init__(self, key: str, options: RailOptions, house: House) -> None:
        self.key = key
        self._options = options
        self._lists = {"user": options.user_says, "assistant": options.assistant_says}
        self._phrases = house.phrases
        self._user = Sense(options.user_hears, house, f"{key}:user") if options.user_hears else None
        self._assistant = Sense(options.assistant_hears, house, key) if options.assistant_hears else None

        unknown = set(options.say_for.values()) - house.lines.keys()
        if unknown:
            raise ValueError(f"`say_for` names no line under `say`: {', '.join(sorted(unknown))}")
        self.senses = [sense for sense in (self._user, self._assistant) if sense]
        self.notes = [note for sense in self.senses for note in sense.clashes()]

    async def check(self, segment: Segment) -> Verdict:
        """User: END with `user_say`, or a note to the model. Assistant: REPLACE with `say`, or DROP."""
        heard = segment.role == "user"
        sense = self._user if heard else self._assistant
        if sense:
            await sense.ready(segment)
        name = self._lists[segment.role]
        listed = found(self._phrases[name], segment, name) if name else ()
        why = f"{name}: matched a phrase of the list"
        if sense is None:
            sensed = Sensed(name, 1.0) if listed else None
        elif listed and says_all([(listed[0].start, listed[0].end)], segment.text):
            sensed = sense.listed(segment, name)
        else:
            sensed = sense.hear(segment, hinted=bool(listed))
            why = f"{name}: a phrase of the list, and " if listed else ""
            why += f"{sensed.kind}: {sensed.because}" if sensed else ""
        if sensed is None:
            return Verdict()
        spans = listed or (Span(0, len(segment.text), sensed.kind.upper()),)
        return self._answered(sensed, spans, why) if heard else self._replaced(sensed, spans, why)

    def _answered(self, sensed: Sensed, spans: tuple[Span, ...], why: str) -> Verdict:
        options = self._options
        flags = frozenset({"review"})
        if options.user_say and sensed.kind != "care" and sensed.sure:
            return Verdict(Act.END, spans, options.user_say, why=why, flags=flags)
        if not options.user_steer:
            return Verdict()
        return Verdict(spans=spans, steer=(options.user_steer,), why=why, flags=flags)

    def _replaced(self, sensed: Sensed, spans: tuple[Span, ...], why: str) -> Verdict:
        say = self._options.say_for.get(sensed.kind, self._options.say)
        return Verdict(Act.REPLACE if say else Act.DROP, spans, say, why=why, flags=frozenset({"review"}))
