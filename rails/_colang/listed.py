"""The flows that a policy lists: what they reach, which of them ask a language model, and what they bring with them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from proxy.turn import nearest
from rails._colang import code as _code
from rails._colang import stock as _stock
from rails._colang.lint import called, name_of, reach
from rails._colang.script import Findings, Flow, Message, Place

_MOST = 40
_ONWARDS = ("note", "hold_whole")  # Kindrail's actions that bear on the answer to come
_RUNS = frozenset(("run_action", "if", "while", "set", "jump", "flow", "break", "continue"))  # the others wait


@dataclass(slots=True)
class Listing:
    """Takes listed flows up, one list after the other; adds to `messages` and `functions` what NeMo's library gives."""

    flows: Mapping[str, Flow]  # the folder's own
    named: Collection[str]  # the names of all flows that stand in it, those that do not parse included
    messages: dict[str, Message]
    functions: dict[str, Callable[..., Any]]
    own: frozenset[str]  # Kindrail's actions
    lines: frozenset[str]  # keys of the policy's `say`
    languages: tuple[str, ...]
    judge: str
    stock: bool  # the folder is a NeMo configuration, where a model may write messages
    found: Findings
    reached: dict[str, Flow] = field(default_factory=dict)
    fast: dict[str, list[str]] = field(default_factory=lambda: {"input": [], "output": []})
    slow: dict[str, list[str]] = field(default_factory=lambda: {"input": [], "output": []})

    def take(self, kind: str, listed: Sequence[str], places: Mapping[str, Place] | None) -> None:
        """The flows of the input or the output list.

        places: where an entry of config.yml stands, by "input:its name"; None: the policy itself lists them.
        """
        if len(listed) > _MOST:
            message = f"{len(listed)} {kind} flows are listed: {_MOST} are the most"
            self._refuse((kind,), None if places is None else self.found.whole, message, "")
        for number, entry in enumerate(listed):
            place = None if places is None else places.get(f"{kind}:{entry}", self.found.whole)
            side = self.slow if self._take(name_of(entry), (kind, number), place) else self.fast
            side[kind].append(entry)

    def _refuse(self, option: tuple[str | int, ...], place: Place | None, message: str, hint: str) -> None:
        """A fault of a list: in config.yml, or of the policy's own."""
        if place is None:
            self.found.option(option, message, hint)
        else:
            self.found.fault(place, message, hint)

    def _take(self, name: str, option: tuple[str | int, ...], place: Place | None) -> bool:
        """Takes one flow up with all that it calls. Whether it asks a language model."""
        calls = {other for flow in self.flows.values() for _, other in called(flow)}
        scripts = [script for one in sorted({name, *calls} - self.flows.keys()) for script in _stock.library(one)]
        library = {flow.id: flow for script in scripts for flow in script.flows}
        if name not in self.flows and name not in library:
            if name not in self.named:
                hint = nearest(name, {*self.named, *_stock.library_flows()})
                self._refuse(option, place, f"there is no flow `{name}`", hint)
            return False
        if place or name in self.flows:
            option = ()  # the fault of a flow that can be looked at stands there
        found = reach(name, {**library, **self.flows})
        self.reached.update(found)
        reached = list(found.values())
        place = place or reached[0].place
        for service in () if name in self.flows else _stock.remote(name):
            self.found.note(place, f"the flow `{name}` sends texts to another service: {service}")
        self._bring(reached, {message.name: message for script in scripts for message in script.messages}, place)
        for flow in reached:
            self._judges_at_once(flow)
        asks = any(self._asks(flow, element) for flow in reached for element in flow.elements)
        if asks:
            self._slow(place, f"the flow `{name}` asks a language model", option)
        return asks

    def _judges_at_once(self, flow: Flow) -> None:
        for number, element in enumerate(flow.elements):
            if element["_type"] not in _RUNS or element.get("action_params", {}).get("value") == "...":
                hint = "leave flows that begin with `user ...` out of the lists: they run as a dialog"
                self.found.fault(flow.at(number), "a listed flow judges one message and cannot wait for another", hint)
                return

    def _bring(self, reached: Sequence[Flow], beside: Mapping[str, Message], place: Place) -> None:
        """Messages and actions of NeMo's library that these flows use."""
        for element in (element for flow in reached for element in flow.elements):
            name = element.get("action_name", "")
            if name == "utter":
                self._bring_message(element["action_params"]["value"], beside, place)
            elif name in _stock.library_actions() - _stock.CORE.keys() - self.own - self.functions.keys():
                try:
                    self.functions[name] = _stock.library_action(name)
                except ImportError as error:
                    self.found.fault(place, f"NeMo's action `{name}` needs a package: {error}")

    def _bring_message(self, name: object, beside: Mapping[str, Message], place: Place) -> None:
        if not isinstance(name, str) or self._said(name):
            return
        message = beside.get(name) or _stock.library_message(name)
        if message is None:
            return
        # NeMo's messages are in English: that is said wherever the policy has no text of its own.
        languages = {self.languages[0], *({"en"} & set(self.languages))}
        self.messages[name] = Message(name, message.place, dict.fromkeys(languages, message.texts["en"]))
        if self.languages == ("en",):
            return
        hint = f"a line `{name.replace(' ', '_')}` under `say` is said instead, in the policy's languages"
        self.found.note(place, f"NeMo's own English message `{name}` may be said", hint)

    def _said(self, name: str) -> bool:
        """Whether a text stands behind `bot name`."""
        return name == "stop" or name.startswith("$") or name in self.messages or name.replace(" ", "_") in self.lines

    def _asks(self, flow: Flow, element: Mapping[str, Any]) -> bool:
        """Whether a language model is asked here: by an action, or to write a message that has no text."""
        name = element.get("action_name", "")
        if name == "utter":
            value = element["action_params"]["value"]
            written = self.stock or flow.id not in self.flows  # elsewhere a message without a text is a fault
            return written and isinstance(value, str) and not self._said(value)
        if name in self.own:
            return False
        if name in self.functions:
            return _code.asks_model(self.functions[name])
        return _stock.CORE.get(name, False)

    def _slow(self, place: Place, what: str, option: tuple[str | int, ...] = ()) -> None:
        """What asks a model runs through NeMo's own path, and needs a judge."""
        if self.judge:
            self.found.note(place, f"{what}: it runs through NeMo's own path with the judge `{self.judge}`")
        else:
            hint = "name the model that it may ask: `judge: model-name` beside `folder`"
            self._refuse(option, None if option else place, what, hint)

    def late(self) -> None:
        """Faults for what can only be asked of an answer to come, in flows that run on answers alone."""
        begun = [*map(name_of, (*self.fast["input"], *self.slow["input"])), *(flow.id for flow in self._dialog())]
        heard = {name for one in begun for name in reach(one, self.flows)}
        for flow in (flow for name, flow in self.reached.items() if name in self.flows and name not in heard):
            for element in flow.elements:
                name = element.get("action_name")
                if name in _ONWARDS and name in self.own:
                    message = f"`{name}` comes too late: `{flow.id}` runs on answers only"
                    self.found.fault(flow.place_of(element), message, "call it in a flow of the `input` list")

    def dialog(self) -> bool:
        """Whether there are flows that begin with `user ...`; each is noted."""
        flows = list(self._dialog())
        for flow in flows:
            self._slow(flow.place, f"the flow `{flow.id}` begins with what the user means, which a model has to tell")
        return bool(flows)

    def _dialog(self) -> Iterator[Flow]:
        waiting = (flow for flow in self.flows.values() if not flow.subflow and flow.id not in self.reached)
        return (flow for flow in waiting if any(one["_type"] == "UserIntent" for one in flow.elements))

    def idle(self) -> None:
        """Notes the folder's flows that nothing runs."""
        used = {*self.reached, *(name for flow in self._dialog() for name in reach(flow.id, self.flows))}
        for flow in self.flows.values():
            if flow.id not in used:
                self.found.note(flow.place, f"the flow `{flow.id}` never runs: nothing lists it or calls it by `do`")
