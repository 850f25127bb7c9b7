"""The schema of a policy file. Every value arrives as text; a type here is what makes it more than text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from proxy.turn import Hold, Mode, Seconds

Text = Annotated[str, Field(min_length=1)]
Word = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
Language = Annotated[str, Field(pattern=r"^[a-z]+$", max_length=3)]
_Listed = BeforeValidator(lambda value: [value] if isinstance(value, str) else value)
Variants = Annotated[list[Text], Field(min_length=1), _Listed]  # or one text
Lines = dict[str, dict[str, Variants]]  # key -> language -> variants


def _country(value: str) -> str:
    if not re.fullmatch("[A-Z]{2}", value):
        raise ValueError("a country is written in two capitals, such as GB")
    return value


Country = Annotated[str, AfterValidator(_country)]  # ISO 3166-1
Passing = Literal["refuse", "keys", "pass"]


class Part(BaseModel):
    """A part of the file: no unknown fields, no changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class System(Part):
    """What the policy adds to the app's system prompt."""

    how: Literal["join", "replace"] = "join"  # join: policy text, blank line, app's text
    text: str = ""


class Range(Part):
    """Bounds of a setting that the app may choose, and what holds where it chooses nothing."""

    min: float | None = None
    max: float | None = None
    default: float | None = None


class History(Part):
    """How much of the conversation the model reads; left out: all of it. The oldest turns go, whole and in blocks."""

    messages: int | None = Field(default=None, ge=2)
    tokens: int | None = Field(default=None, ge=64)  # by estimate, beside the instructions and the answer


class Generation(Part):
    """What the policy demands of the model's settings."""

    system: System = System()
    fold_system: list[
        Text
    ] = []  # globs on the model's name: those have no system role, it goes into the first user turn
    history: History = History()
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: Range = Range()
    top_p: Range = Range()
    repetition_penalty: float | None = Field(default=None, gt=0)


class PhraseList(BaseModel):
    """One list: phrases by language, and `but_not` for those that explain a hit away."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, list[Text]]

    but_not: dict[str, list[Text]] = {}

    @property
    def words(self) -> Mapping[str, list[str]]:
        return self.__pydantic_extra__


class Case(Part):
    """One test text: the user's, or the assistant's beside the user's last turn."""

    user: str = ""
    assistant: str = ""
    lang: str = ""  # empty: guessed
    becomes: str | None = None  # the text that is sent on
    earlier: list[Text] = []  # what the user said in turns before
    settings: dict[str, Text] = {}  # what the app has set

    @model_validator(mode="after")
    def _says_something(self) -> Case:
        if not (self.user or self.assistant):
            raise ValueError("a test needs a `user` or an `assistant` text")
        return self


class Tests(Part):
    """A rail's own tests. `known_misses` are wished for, counted, and fail nobody."""

    trips: list[Case] = []
    passes: list[Case] = []
    known_misses: list[Case] = []


class Entry(BaseModel):
    """What every rail's entry has; the rest of it are the options of its rail."""

    model_config = ConfigDict(extra="allow", frozen=True)

    id: Word
    rail: Text
    why: Text
    mode: Mode = "enforce"
    tests: Tests = Tests()


class Parts(Part):
    """What of a message that is no text may pass, though no rail looks into it. keys: for keys that allow it."""

    image: Passing = "refuse"
    audio: Passing = "refuse"
    file: Passing = "refuse"


class VaultRules(Part):
    """What becomes of personal data that the model reads as `<PERSON_1>`. A session keeps them as long as itself."""

    restore: list[Text]  # the kinds of data that whoever told them gets back; all others are never shown again
    neutral: dict[str, Text] = Field(min_length=1)  # by language: stands for what is not given back


class Retry(Part):
    """When the model is asked once more, before anything of its answer has left."""

    note: Text  # a key under `steer`: what it is told the second time
    rails: list[Word] = Field(min_length=1)  # ids of those whose objection is reason enough


class Keep(Part):
    """How long the audit keeps decisions and masked texts, and Redis a session."""

    decisions: Seconds = 90 * 86400.0
    text: Seconds = 30 * 86400.0
    sessions: Seconds = 86400.0


class Help(Part):
    """A number that a child in need can call. What has changed since it was checked, nobody here knows."""

    country: Country
    kinds: list[Word] = Field(alias="for", min_length=1)  # of the crisis rail: emergency, selfharm, ...
    number: Text  # as it is dialled
    name: Text  # whose it is, for those who read the policy
    languages: list[Language] = []  # in which it answers; left out: any
    checked: date  # when somebody last made sure that it is right


class PolicyFile(Part):
    """A whole policy file, laid upon the one it extends."""

    policy: Word
    version: int = Field(ge=1)
    about: Text
    extends: str = ""  # the policy, beside this one, that it is laid upon
    audience: Literal["child", "adult"]
    mode: Literal["enforce", "shadow"] = "enforce"  # shadow: every rail of the policy
    languages: list[Language] = Field(min_length=1)
    hold: Hold = "sentence"
    hold_max: int = Field(200, ge=40)  # characters; less would tear phrases and data apart
    when_broken: Literal["closed", "open"] = "closed"
    late_after: Seconds = 2.0
    blocked_as: Literal["stop", "content_filter"] = "stop"  # the finish_reason of an answer in which the house spoke
    # globs on the functions that the model may call; left out: none with children, all with adults
    tools: list[Text] | None = None
    reasoning: Literal["drop", "judge"] | None = None  # left out: dropped with children, judged with adults
    parts: Parts = Parts()
    model: Generation = Generation()
    say: Lines
    steer: Lines = {}
    stand_ins: dict[str, dict[str, Text]] = {}
    help_lines: list[Help] = []
    country: dict[str, Country] = {}  # language -> the country whose help lines are told; an app may set another
    phrases: dict[str, PhraseList] = {}
    rails: list[Entry] = Field(min_length=1)
    retry: Retry | None = None  # left out: the model is asked once
    vault: VaultRules | None = None  # left out: the model reads stand-ins, and nothing is given back
    keep: Keep = Keep()
