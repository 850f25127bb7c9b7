"""crisis: a child in danger is answered with care, at once, and a person is told.

Answers the model card's "should be tested with adult supervision and additional safety layers": a small model must
never be the one that replies to "I want to hurt myself". The rail stands first in a child policy and outranks
everything else; its lines need no model. Each kind of danger has its own line, severity and alert. The rail remembers
when it was last heard (`at`, unix seconds), so that flows can keep the answers after it calm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, ClassVar, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from proxy.turn import (
    Act,
    Alert,
    Fault,
    Hit,
    Hold,
    House,
    ListName,
    Options,
    PolicyError,
    Role,
    SayKey,
    Seconds,
    Segment,
    Severity,
    Span,
    SteerKey,
    Turn,
    Verdict,
)
from rails._heard import hits, says_all
from rails._sense import Sense, Sensed

# The most severe first: where a message tells of several, the first is answered.
Kind = Literal["emergency", "selfharm", "abuse", "grooming", "fear", "bullying", "doubt"]
_KINDS: tuple[Kind, ...] = get_args(Kind)
_Found = tuple[Kind, Hit]  # which list, and where
# Words of these lists are never taken back by the learned model; "ambulance" and "smoke" stand in many a game.
_CERTAIN = ("selfharm", "abuse", "grooming", "fear")
_NEVER_PARENTS = ("abuse", "fear")  # who is hurt or afraid at home may be so because of them
_DEEP = 10  # hits of a list that are looked at
_HELP = "{help}"
_OR = {"en": " or ", "it": " o ", "ko": " 또는 "}


class KindOptions(Options):
    """What one kind of danger is heard by, and how it is answered."""

    phrases: ListName = Field("", description="The list of phrases that tell of it, beside what the rail has learned.")
    say: SayKey = Field(
        "",
        description="The line that answers: short and caring, with a grown-up to turn to; no goodbye, no question. "
        "`{help}` in it becomes the numbers of the policy's `help_lines`.",
    )
    steer: SteerKey = Field("", description="In the place of `say`: a note with which the model answers; no alert.")
    severity: Severity = Field("high", description="What the alert says of it.")
    alert: bool | None = Field(
        None, description="Whether the operator's contact is told. Left out: yes, but not of bullying."
    )
    parents: bool = Field(False, description="Whether the parents' channel is told, too; never of abuse and fear.")

    @model_validator(mode="after")
    def _answers(self) -> Self:
        if bool(self.say) == bool(self.steer):
            raise ValueError("a kind has either a `say`, the line that answers, or a `steer`, a note for the model")
        return self


class RailOptions(Options):
    """Options of a `crisis` rail."""

    kinds: dict[Kind, KindOptions] = Field(
        min_length=1,
        description="What is heard, and how it is answered: emergency, selfharm, abuse, grooming, fear, bullying and "
        "doubt, the most severe first. One that is left out is not heard. In the lists better one phrase too many: a "
        "false alarm costs a kind sentence and a look by a person.",
    )
    learned: Literal["child"] | None = Field(
        None, description="The shipped model that hears what no list says. Left out: the lists decide alone."
    )
    calm_for: Seconds = Field(
        86400.0, gt=0, description="For how long a repeat belongs to what was heard before, such as `24h`."
    )

    @field_validator("kinds")
    @classmethod
    def _take_care(cls, kinds: dict[Kind, KindOptions]) -> dict[Kind, KindOptions]:
        for kind in _NEVER_PARENTS:
            if kind in kinds and kinds[kind].parents:
                raise ValueError(f"`{kind}` never has `parents: true`: the child may be afraid of them; take it out")
        if not any(one.say for one in kinds.values()):
            raise ValueError("at least one kind, such as `emergency`, has a `say`")
        return kinds


class Rail:
    """Ends the turn with the caring line of the kind, and asks for a person.

    Remembers `at` and `since` (unix seconds of the last and the first time), `kind` (the most severe), `times`, and
    whether `parents` may hear of all of it.
    """

    content: ClassVar[frozenset[Role]] = frozenset({"user", "tool"})  # a tool may bring what a child said aloud
    shape: ClassVar[frozenset[Role]] = frozenset()
    needs: ClassVar[Hold] = "clause"  # a user's message comes whole, however little of an answer is held
    urgent: ClassVar[bool] = True  # its lines go out whatever else fails: limits, quota, the store

    def __init__(self, key: str, options: RailOptions, house: House) -> None:
        self.key = key
        self.settings = ("country",) if house.help_lines else ()
        self._calm_for = options.calm_for
        self._kinds = {kind: options.kinds[kind] for kind in _KINDS if kind in options.kinds}
        self.alerts = any(self._alerts(kind) for kind in self._kinds)  # it needs somebody to be told
        self._lists = [(kind, house.phrases[one.phrases]) for kind, one in self._kinds.items() if one.phrases]
        self._sense = Sense("crisis", house, key, apart=("doubt",)) if options.learned else None
        self.senses = [self._sense] if self._sense else []
        self.notes = [note for sense in self.senses for note in sense.clashes()]
        self._house = house
        if faults := list(self._helpless()):
            raise PolicyError(faults)

    async def check(self, segment: Segment) -> Verdict:
        """END with the line of the most severe kind that a list or the learned model hears; a note for doubt."""
        found = [(kind, hit) for kind, phrases in self._lists for hit in islice(hits(phrases, segment), _DEEP)]
        hit = found[0] if found else None
        if self._sense is None or segment.role != "user":
            # what a tool brings is mostly no child's sentence: there the lists decide alone
            return self._listed(hit, segment.turn) if hit else Verdict()
        plain = self._plainest(found, segment)
        if plain and plain == hit and plain[0] != "doubt":
            return self._listed(plain, segment.turn)
        await self._sense.ready(segment)
        return self._weighed(hit, plain, self._sense.hear(segment, hinted=hit is not None), segment)

    def _weighed(self, hit: _Found | None, plain: _Found | None, sensed: Sensed | None, segment: Segment) -> Verdict:
        """What the first hit, one that nobody may take back, and the learned model amount to."""
        if plain and (sensed is None or (plain[0] != "doubt" and not sensed.sure)):
            return self._listed(plain, segment.turn)
        if sensed is None:  # with a hit, the model is all but certain that it is nothing
            return self._careful(hit, segment)
        if hit and hit[0] != "doubt" and sensed.sure:
            return self._listed(hit, segment.turn)
        # what may be danger, and may be none, is met as a doubt: with a gentle note, and no alert
        told = sensed.kind if sensed.sure else "doubt"
        heard = next((kind for kind in self._kinds if kind == told), None)
        kind = _worst(hit[0] if hit else None, heard)
        if kind is None:
            return Verdict()
        return self._answered(kind, segment.turn, (), f"{kind}: {sensed.because}; somebody may be in danger")

    def _plainest(self, found: Sequence[_Found], segment: Segment) -> _Found | None:
        """The first hit that the model may not take back: of a certain list, or the phrase that is all that is said.

        A single word ("ambulance!") may be the answer to a riddle.
        """
        certain = next((one for one in found if one[0] in _CERTAIN), None)
        spots = [(hit.start, hit.end) for _, hit in found if len(hit.words.split()) > 1]
        return found[0] if says_all(spots, segment.text) else certain

    def _careful(self, hit: _Found | None, segment: Segment) -> Verdict:
        """A single word of a list, and nothing else said, is met as a doubt."""
        if hit is None or "doubt" not in self._kinds or not says_all([(hit[1].start, hit[1].end)], segment.text):
            return Verdict()
        return self._answered("doubt", segment.turn, (), f"{hit[0]}: a phrase of the list is all that is said")

    def _listed(self, hit: _Found, turn: Turn) -> Verdict:
        kind, where = hit
        spans = (Span(where.start, where.end, kind.upper()),)
        why = f"{kind}: a phrase of the list {self._kinds[kind].phrases}; somebody may be in danger"
        return self._answered(kind, turn, spans, why)

    def when_broken(self, segment: Segment) -> Verdict:
        """Its verdict where it fails: who cannot tell whether a child is in danger takes care."""
        kind = next(kind for kind, one in self._kinds.items() if one.say)
        why = "the rail broke; somebody may be in danger"
        return self._end(kind, segment.turn, (), why, Alert("unclear", "high"))

    def _answered(self, kind: Kind, turn: Turn, spans: tuple[Span, ...], why: str) -> Verdict:
        one = self._kinds[kind]
        if one.steer:
            return Verdict(Act.PASS, spans, why=why, steer=(one.steer,), flags=frozenset({"review"}))
        memory = self._memory(kind, turn)
        alert = self._alert(memory) if self._alerts(kind) else None
        return replace(self._end(kind, turn, spans, why, alert), remember=memory)

    def _end(self, kind: Kind, turn: Turn, spans: tuple[Span, ...], why: str, alert: Alert | None) -> Verdict:
        flags = frozenset({"review", "alert"} if alert else {"review"})
        fill = {"help": self._numbers(kind, turn)}
        return Verdict(Act.END, spans, self._kinds[kind].say, why=why, fill=fill, flags=flags, alert=alert)

    def _alerts(self, kind: Kind) -> bool:
        one = self._kinds[kind]
        return bool(one.say) and (kind != "bullying" if one.alert is None else one.alert)

    def _memory(self, kind: Kind, turn: Turn) -> dict[str, Any]:
        """What is remembered from now on: a repeat counts up, and keeps the most severe kind."""
        before, now, parents = turn.recall(self.key), turn.now, self._kinds[kind].parents
        if "at" not in before or now - before["at"] >= self._calm_for:
            return {"at": now, "since": now, "kind": kind, "times": 1, "parents": parents}
        kept = next((one for one in self._kinds if one == before.get("kind")), None)
        since, times = before.get("since", before["at"]), before.get("times", 1)
        parents = parents and before.get("parents", False)
        return {"at": now, "since": since, "kind": _worst(kind, kept), "times": times + 1, "parents": parents}

    def _alert(self, memory: Mapping[str, Any]) -> Alert:
        """The alert of all that was heard since the first time.

        Parents hear of it only where they may hear of all: its `times` would tell them that there was more.
        """
        worst: Kind = memory["kind"]
        return Alert(worst, self._kinds[worst].severity, memory["parents"], memory["times"], memory["since"])

    def _numbers(self, kind: Kind, turn: Turn) -> str:
        """The numbers for this kind in the country that the app has set, or else in the language's."""
        country = self._house.country.get(turn.language, "")
        asked = turn.settings.get("country", "")
        chosen = "NO" if asked is False else str(asked).upper()  # what says Norway is a switch's `no`, too
        found = self._lines(kind, chosen, turn.language)
        numbers = found or self._lines(kind, country, turn.language)
        return _OR.get(turn.language, ", ").join(numbers)

    def _lines(self, kind: Kind, country: str, language: str) -> list[str]:
        lines = [one for one in self._house.help_lines if one.country == country and kind in one.kinds]
        spoken = [one for one in lines if not one.languages or language in one.languages]
        return [one.number for one in spoken or lines]

    def _helpless(self) -> Iterator[Fault]:
        """The lines that would tell a number that the policy does not have."""
        for kind, one in self._kinds.items():
            for language, variants in self._house.lines.get(one.say, {}).items():
                if not any(_HELP in text for text in variants):
                    continue
                country = self._house.country.get(language, "")
                if not self._lines(kind, country, language):
                    where = f"in `{country}`" if country else f"as `country` names none for `{language}`"
                    hint = f"write one under `help_lines` with `for: [{kind}]`, and the country under `country`"
                    message = f"`{one.say}` says {_HELP} in `{language}`, and there is no help line for it {where}"
                    yield Fault.of(("kinds", kind, "say"), message, hint)


def _worst(one: Kind | None, other: Kind | None) -> Kind | None:
    return next((kind for kind in _KINDS if kind in (one, other)), None)
