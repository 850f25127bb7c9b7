"""colang: the house's rules as Colang 1.0 flows, run on every message, tool result and sentence of an answer.

A folder beside the policy holds `.co` files, or a whole NeMo Guardrails configuration. Its input flows judge what the
user and the tools say, its output flows what the model answers: in the listed order, on one set of variables, until one
says `stop`. What a flow says (`bot ...`) is a line of the house in the user's language. To the user's side it is the
whole answer; in an answer it stands in front of the sentence, or with `stop` in its place. A flow may also rewrite
`$user_message` or `$bot_message`, keep what it needs later in `$session`, and ask the detectors of the other rails.

Variables: `$user_message`, `$bot_message`, `$role`, `$lang`, `$history` (the messages before this turn, with `role` and
`text`), `$session` (what flows have set, and this request's settings), `$rails` (what other rails remember, by id
with `_` for `-`), `$values` (constants), `$now` (unix seconds), `$last_user_message`, `$last_bot_message`, `$before`
(what the user sent just before), `$answer_so_far` (the answer before this sentence) and `$whole` (nothing follows).
Actions: `pii`, `stop_intent`, `phrases`, `question`, `note`, `hold_whole`, `flag`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, TypeAdapter, ValidationError, field_validator

from proxy.turn import Act, Fault, FolderName, Hold, House, Options, PolicyError, Role, Seconds, Segment, Verdict
from rails._colang import patterns as _patterns
from rails._colang import sensitive as _sensitive
from rails._colang.actions import ANSWERS, Actions, Effects
from rails._colang.folder import Folder, read
from rails._colang.runner import Context, FlowFault, Ran, Runner, Said
from rails._colang.variables import Variables, answers

if TYPE_CHECKING:
    from rails._colang.model import Judged

_NAME = re.compile(r"[A-Za-z_]\w*")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_SECONDS: TypeAdapter[float] = TypeAdapter(Seconds)


class RailOptions(Options):
    """Options of a `colang` rail."""

    folder: FolderName = Field(
        description="The folder of the flows, beside the policy: `.co` files, or a NeMo Guardrails configuration."
    )
    input: list[str] | None = Field(
        None, description="The flows that judge what users and tools say, in order. Left out: those of `config.yml`."
    )
    output: list[str] | None = Field(
        None, description="The flows that judge what the model answers, in order. Left out: those of `config.yml`."
    )
    judge: str = Field("", description="The model that flows ask which need one. Without it they are refused.")
    settings: list[str] = Field(
        [], description="Names under `$session` that the app may set with each request, such as `bedtime`."
    )
    values: dict[str, bool | int | float | str] = Field(
        {},
        description="Constants for the flows, as `$values.name`: a text, a number, `true` or `false`, or a length of "
        "time such as `24h`, which a flow reads in seconds.",
    )

    @field_validator("values", mode="before")
    @classmethod
    def _values(cls, written: object) -> object:
        return {name: _value(value) for name, value in written.items()} if isinstance(written, dict) else written

    @field_validator("values", "settings")
    @classmethod
    def _names(cls, named: Any) -> Any:
        for name in named:
            if not _NAME.fullmatch(name):
                raise ValueError(f"no flow can read `{name}`: write letters, digits and `_`, and a letter first")
        return named


@dataclass(slots=True)
class _Doing:
    """What the flows did to one message, in the order in which they did it."""

    text: str
    said: list[Said] = field(default_factory=list)
    stopped: bool = False
    effects: Effects = field(default_factory=Effects)
    remember: dict[str, object] = field(default_factory=dict)
    why: str = ""  # which flow did the weightiest thing, and where
    _weight: int = 0
    _asked: int = 0

    def follow(self, ran: Ran, text: str, about: str) -> None:
        """Adds what one flow did. Where several did as much, the first is named."""
        asked, self._asked = self._asked, self.effects.count
        weight = 4 if ran.stopped else 3 if ran.said else 2 if text != self.text else int(self._asked > asked)
        if weight > self._weight:
            self._weight, self.why = weight, f"flow `{ran.flow}` ({ran.place}){about and ': '}{about}"
        self.text = text
        self.said += ran.said
        self.stopped = ran.stopped


class Rail:
    """Runs the folder's flows. Remembers what flows set under `$session`: true, false, numbers and words of theirs.

    `lines` are the house lines that the flows say, by the key of the verdict's `say`; `notes` is what `kindrail check`
    tells beside faults; `settings` are the names that an app may set. Raises `PolicyError` with the folder's faults.
    """

    content: ClassVar[frozenset[Role]] = frozenset({"user", "tool", "assistant"})
    shape: ClassVar[frozenset[Role]] = frozenset()
    needs: ClassVar[Hold] = "sentence"
    of_session: ClassVar[bool] = True  # the same text may be judged otherwise in another session

    def __init__(self, key: str, options: RailOptions, house: House) -> None:
        self.key = key
        self.settings: tuple[str, ...] = tuple(options.settings)
        self._house = house
        self._actions = Actions(house)
        self._folder = folder = read(
            house.folder / options.folder, house.folder, options.input, options.output, languages=house.languages,
            actions={*self._actions.table, *_sensitive.NAMES, *_patterns.NAMES}, lines=house.lines, code=house.code,
            judge=options.judge, given=self._fields(options), answers=ANSWERS,
        )  # fmt: skip
        if faults := list(self._actions.misnamed(folder.flows)):
            raise PolicyError(faults)
        self.lines: dict[str, Mapping[str, Sequence[str]]] = {
            self._key(name): message.texts for name, message in folder.messages.items() if message.fixed
        }
        self.places = {self._key(name): str(message.place) for name, message in folder.messages.items()}
        sensitive, unknown = _sensitive.bound(
            folder.flows, folder.config, house.folder / options.folder, options.folder
        )
        self.notes: tuple[Fault, ...] = (*folder.notes, *unknown)
        patterns = _patterns.bound(folder.flows, folder.config, house.folder / options.folder, house.folder)
        ours = {**self._actions.table, **sensitive, **patterns}
        self._runner = Runner(folder, {**folder.functions, **ours})
        self._variables = Variables(folder, key, house.languages, options.settings, options.values)
        slow = folder.slow_input or folder.slow_output or folder.dialog
        self._judged = _judged(folder, options.judge, ours, house.lines) if slow else None

    def _fields(self, options: RailOptions) -> dict[str, Collection[str]]:
        """The fields of the variables that a flow finds; in Colang no name has a `-`."""
        ids = {name for one in self._house.ids for name in (one, one.replace("-", "_"))}
        return {"session": options.settings, "values": options.values, "rails": ids}

    def settle(self) -> None:
        """To be called once all rails of the policy are built. Raises `PolicyError` where a flow asks a missing one."""
        if faults := list(self._actions.unasked(self._folder.flows)):
            raise PolicyError(faults)

    async def check(self, segment: Segment) -> Verdict:
        """What the flows do to the segment, as one verdict. Raises `FlowFault` where a flow or its action fails."""
        answer = segment.role == "assistant"
        context, doing = self._variables.of(segment), _Doing(segment.text)
        given = {"segment": segment, "effects": doing.effects}
        for flow in self._folder.output if answer else self._folder.input:
            self._follow(doing, await self._runner.run(flow, context, given), context, segment)
            if doing.stopped:
                break
        # An earlier message is not put to a model once more, what has been said to the user needs no model, and a trial
        # has none.
        done = segment.past or doing.stopped or (doing.said and not answer) or segment.turn.trial
        if self._judged and not done:
            async for ran in self._judged.check("output" if answer else "input", segment, context, given):
                self._follow(doing, ran, context, segment)
        return self._verdict(doing, segment)

    def _follow(self, doing: _Doing, ran: Ran, context: Context, segment: Segment) -> None:
        """Takes down what one flow did."""
        message = "bot_message" if segment.role == "assistant" else "user_message"
        text = context[message]
        if not isinstance(text, str):
            raise FlowFault(f"flow `{ran.flow}` ({ran.place}) makes `${message}` something else than a text")
        flow = self._folder.flows.get(ran.flow)
        doing.follow(ran, text, flow.about if flow else "")
        doing.remember = self._variables.lasting(context, segment, ran)

    # -- what becomes of the message -----------------------------------------------------------------------------------

    def _verdict(self, doing: _Doing, segment: Segment) -> Verdict:
        heard = segment.role != "assistant"
        say, texts = self._spoken(doing.said, segment)
        act = Act.PASS
        if doing.stopped or (heard and doing.said):
            act = Act.END
            say = say if texts or say or not heard else "fallback"
        elif say or texts or doing.text != segment.text:
            texts += [doing.text] if doing.text.strip() else []
            act = Act.REPLACE if say or texts else Act.DROP
        return Verdict(
            act,
            say=say,
            text=" ".join(texts),
            why=doing.why,
            steer=tuple(dict.fromkeys(doing.effects.notes)),
            hold=doing.effects.hold,
            flags=frozenset(doing.effects.flags),
            remember=doing.remember,
        )

    def _spoken(self, said: Sequence[Said], segment: Segment) -> tuple[str, list[str]]:
        """The key of the first line that was said, empty where it was filled in; and the texts behind it.

        None of them is said twice: not here, and not in another part of the answer that was judged before.
        """
        answers_now = segment.role == "assistant" and not segment.past
        told = segment.turn.memo.setdefault((self.key, "told"), {}) if answers_now else {}
        texts = [one.text if one.text is not None else self._line(one.name, segment) for one in said]
        key = self._key(said[0].name) if said and said[0].text is None else ""
        new = []
        for text in texts:
            if text.strip() and text not in new and told.setdefault(text, segment.before) == segment.before:
                new.append(text)
        return key, [text for text in new if not key or text != texts[0]]

    def _line(self, name: str, segment: Segment) -> str:
        """A fixed line in the turn's language, or the policy's first; its variants rotate with the answers."""
        key = self._key(name)
        lines = self.lines.get(key) or self._house.lines[key]
        variants = lines.get(segment.turn.language, lines[self._house.languages[0]])
        return variants[answers(segment) % len(variants)]

    def _key(self, name: str) -> str:
        """Under which the loader finds the line: `house-flows/refuse secrets`, or the policy's own `refuse_secrets`."""
        own = self.key.partition(":")[0]  # a rail in shadow says the same lines
        return f"{own}/{name}" if name in self._folder.messages else name.replace(" ", "_")


def _value(written: object) -> object:
    """A constant as a flow reads it: YAML comes as texts."""
    if not isinstance(written, str):
        return written
    if written in ("true", "false"):
        return written == "true"
    if _NUMBER.fullmatch(written):
        return float(written) if "." in written else int(written)
    try:
        return _SECONDS.validate_python(written)
    except ValidationError:
        return written


def _judged(folder: Folder, model: str, actions: Mapping[str, Any], lines: Iterable[str]) -> Judged:
    """What runs the flows that need a model."""
    from rails._colang.model import Judged  # noqa: PLC0415 - it brings NeMo's prompts and tasks, and few folders need it

    return Judged(folder, model, actions, [line.replace("_", " ") for line in lines])
