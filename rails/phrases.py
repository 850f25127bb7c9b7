"""phrases: what a user or a model must not say, as lists of plain words.

Answers the model card's "may ask for personal information in some cases" and "may mishandle unsafe play requests such
as real fire or risky movement": a sentence of the answer that holds a phrase of the list is replaced by a line of the
house. On the user's side the house answers a phrase itself, or gives the model a note. The lists, and what explains a
hit away, stand under `phrases` in the policy.
"""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, model_validator

from proxy.turn import (
    Act,
    Hold,
    House,
    ListName,
    Options,
    Role,
    SayKey,
    Segment,
    SteerKey,
    Verdict,
)
from rails._heard import found


class RailOptions(Options):
    """Options of a `phrases` rail: a list for the user's side, one for the assistant's, or both."""

    user_says: ListName = Field("", description="The list of phrases that is looked for in the user's messages.")
    user_say: SayKey = Field("", description="The line that answers such a message; the model is not asked.")
    user_steer: SteerKey = Field("", description="In place of `user_say`: a note for the model, which then answers.")
    assistant_says: ListName = Field("", description="The list of phrases that is looked for in the model's answers.")
    say: SayKey = Field(
        "", description="The line that replaces such a sentence of an answer. Not given: the sentence is left out."
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.user_says and not self.assistant_says:
            raise ValueError("a `phrases` rail needs a list: give `user_says`, `assistant_says` or both")
        if self.user_says and bool(self.user_say) == bool(self.user_steer):
            raise ValueError(
                "`user_says` needs either `user_say` (the house answers) or `user_steer` (a note), not both"
            )
        if not self.user_says and (self.user_say or self.user_steer):
            raise ValueError("`user_say` and `user_steer` do nothing without a list: give `user_says`")
        if not self.assistant_says and self.say:
            raise ValueError("`say` does nothing without a list: give `assistant_says`")
        return self


class Rail:
    """Looks for its lists: the user's in each message, the assistant's in each sentence with its neighbourhood."""

    content: ClassVar[frozenset[Role]] = frozenset({"user", "assistant"})
    shape: ClassVar[frozenset[Role]] = frozenset()
    needs: ClassVar[Hold] = "sentence"

    def __init__(self, key: str, options: RailOptions, house: House) -> None:
        self.key = key
        self._options = options
        self._phrases = house.phrases

    async def check(self, segment: Segment) -> Verdict:
        """User: END with `user_say`, or a note to the model. Assistant: REPLACE with `say`, or DROP."""
        options, heard = self._options, segment.role == "user"
        name = options.user_says if heard else options.assistant_says
        spans = found(self._phrases[name], segment, name) if name else ()
        if not spans:
            return Verdict()
        why = f"{name}: matched a phrase of the list"
        if not heard:
            return Verdict(Act.REPLACE if options.say else Act.DROP, spans, options.say, why=why)
        steer = (options.user_steer,) if options.user_steer else ()
        return Verdict(Act.END if options.user_say else Act.PASS, spans, options.user_say, why=why, steer=steer)
