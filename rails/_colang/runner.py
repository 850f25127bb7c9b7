"""Drives Colang flows: NeMo's parser has read them, NeMo's state machine says what comes next, and this does it.

NeMo's own loop plays all events again at every step. Here one state lives as long as one flow's run, and the
conversation is a variable instead of events, so that a check costs the same after one message and after a hundred.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.turn import RailFault
from rails._colang.calls import Action, Failed, Threads
from rails._colang.context import REWRITTEN, Context, FlowFault, Name
from rails._colang.folder import Flow, Folder, Place
from rails._colang.messages import Text, sayable
from rails._colang.nemo import ActionResult, FlowConfig, RailOutcome, State, compute_next_state, flow_id, flow_params

__all__ = ["Context", "FlowFault", "Ran", "Runner", "Said"]

_STEPS = 200  # of one flow: what it says and calls
_SPOKEN = {"StartUtteranceBotAction": "script", "BotMessage": "text"}  # events of actions that say a text -> its key


@dataclass(frozen=True, slots=True)
class Said:
    """One `bot ...`."""

    name: str  # as the flow has it; of a literal text empty
    text: str | None  # None: a message without variables, or a line of the policy
    place: Place


@dataclass(slots=True)
class Ran:
    """What one flow did."""

    flow: str  # its id, without parameters
    said: list[Said]
    stopped: bool
    place: Place  # of what decided: the last `bot` or `stop`, else rewriting, else action with effects; else the flow


@dataclass(frozen=True, slots=True)
class _Step:
    """What is to be done when NeMo's machine comes to an element: say something, or call an action."""

    flow: str
    place: Place
    element: dict[str, Any]
    text: Text | None = None
    action: Action | None = None

    def fault(self, what: str) -> FlowFault:
        return FlowFault(f"flow `{self.flow}` ({self.place}): {what}")


class Runner:
    """Runs the flows of one folder; keeps nothing between two runs.

    actions: by the name that a flow calls them by. Raises `PolicyError` where a message is no template.
    """

    def __init__(self, folder: Folder, actions: Mapping[str, Callable[..., Any]]) -> None:
        self._folder = folder
        self._texts = {
            name: Text(message.texts, message.place) for name, message in folder.messages.items() if not message.fixed
        }
        threads = Threads()
        self._actions = {
            name: Action(call, threads if name in folder.functions else None) for name, call in actions.items()
        }
        self._configs = {name: self._config(flow) for name, flow in folder.flows.items()}
        listed = {*folder.input, *folder.output, *folder.flows}
        self._starts = {flow: (flow_id(flow), flow_params(flow)) for flow in listed}

    async def run(self, flow: str, context: Context, given: Mapping[str, Any]) -> Ran:
        """Runs a flow of the folder to its end.

        flow: as the list has it, perhaps with parameters. context: read, and changed. given: what actions get whose
        signature names it. Raises `FlowFault` where an action fails or the flow does not end.
        """
        name, params = self._starts[flow]
        context.begin()
        state = State(context=context, flow_states=[], flow_configs=self._configs, rails_config=self._folder.config)
        run = _Run(self._folder.flows, name, state, context, given)
        await run.play({"type": "start_flow", "flow_id": name, "params": params})
        await asyncio.sleep(0)  # fifty checks of ten flows each: others are served between two flows
        return run.ran

    def _config(self, flow: Flow) -> FlowConfig:
        """The flow for NeMo's machine: in a copy, since the machine writes into it; it runs where it is called, and
        also wakes on the events that it makes itself.
        """
        elements = [self._prepared(flow, number) for number in range(len(flow.elements))]
        config = FlowConfig(id=flow.id, elements=elements, is_subflow=True)
        for element in config.elements:
            if element.get("action_name") == "create_event":
                config.trigger_event_types.append(element["action_params"]["event"]["_type"])
        return config

    def _prepared(self, flow: Flow, number: int) -> dict[str, Any]:
        place, made = flow.at(number), dict(flow.elements[number])
        for key in ("key", "action_result_key"):
            if made.get(key):
                made[key] = Name(made[key])
                made[key].place = place
        if made["_type"] == "run_action":
            text = self._text(made["action_params"].get("value"), place) if made["action_name"] == "utter" else None
            made["_step"] = _Step(flow.id, place, made, text, self._actions.get(made["action_name"]))
        return made

    def _text(self, said: Any, place: Place) -> Text | None:
        """The text with variables behind a `bot`; None for what needs no filling in here."""
        if isinstance(said, dict):
            return Text({"": [said["text"]]}, place)
        return self._texts.get(said)


class _Run:
    """One run of one flow."""

    def __init__(
        self, flows: Mapping[str, Flow], name: str, state: State, context: Context, given: Mapping[str, Any]
    ) -> None:
        self.ran = Ran(name, [], False, flows[name].place)
        self._flows = flows
        self._state = state
        self._context = context
        self._given = given
        self._events: list[dict[str, Any]] = []
        self._effect: Place | None = None  # of the last action that asks something of the house

    async def play(self, *events: dict[str, Any]) -> None:
        """From the event that starts the flow to its end."""
        for _ in range(_STEPS):
            step = self._next(events)
            if step is None:
                return self._settle()
            self.ran.place = step.place
            events = (self._say(step),) if step.element["action_name"] == "utter" else await self._act(step)
            if self.ran.stopped:
                return None
        raise self._fault(f"it has taken {_STEPS} steps and would go on")

    def _next(self, events: tuple[dict[str, Any], ...]) -> _Step | None:
        """What NeMo's machine wants next, now that these things have happened; what it wanted in between is void."""
        self._events += events
        try:
            for event in events:
                self._state = compute_next_state(self._state, event)
            updates = self._state.context_updates  # what a flow has set is in the context: its parameters are not
            self._context.update({name: value for name, value in updates.items() if not isinstance(name, Name)})
        except FlowFault as fault:
            raise self._fault(str(fault)) from None
        except Exception as error:
            raise self._cannot(error) from None
        step: _Step | None = self._state.next_step and self._state.next_step["_step"]
        return step

    def _settle(self) -> None:
        """The place of what decided, where the flow has not stopped."""
        if self.ran.said:
            self.ran.place = self.ran.said[-1].place
        else:
            self.ran.place = self._context.rewritten or self._effect or self._flows[self.ran.flow].place

    # -- saying --------------------------------------------------------------------------------------------------------

    def _say(self, step: _Step) -> dict[str, Any]:
        intent = step.element["action_params"]["value"]
        self._hear(intent, step)
        return {"type": "BotIntent", "intent": intent}

    def _hear(self, intent: Any, step: _Step) -> None:
        if intent == "stop":
            self.ran.stopped = True
        else:
            name = intent if isinstance(intent, str) else ""
            self.ran.said.append(Said(name, self._filled(intent, step), step.place))

    def _filled(self, intent: Any, step: _Step) -> str | None:
        """The text of a `bot ...` that is made from variables."""
        if step.text is None and not intent.startswith("$"):
            return None
        try:
            if step.text is None:
                return self._set(intent)
            return step.text.render(self._context, self._context.language, self._context.nth)
        except FlowFault as fault:
            raise step.fault(str(fault)) from None
        except Exception as error:
            raise step.fault(f"its message cannot be filled in ({type(error).__name__})") from None

    def _set(self, variable: str) -> str:
        """The text of a `bot $x`."""
        value = self._context.value(variable)
        if value is None or value is variable:
            raise FlowFault(f"it is to say `{variable}`, which has not been set")
        return sayable(str(value))

    # -- acting --------------------------------------------------------------------------------------------------------

    async def _act(self, step: _Step) -> tuple[dict[str, Any], ...]:
        """Calls an action, stores what it answers, and gives the events that follow."""
        name = step.element["action_name"]
        if name == "create_event":
            answer: Any = ActionResult(events=[self._created(step.element["action_params"]["event"])])
        else:
            answer = await self._answer(step, name)
        changes: dict[str, Any] = {}
        made: list[dict[str, Any]] = []
        if isinstance(answer, ActionResult):
            changes |= answer.context_updates or {}
            made = answer.events or []
            answer = answer.return_value
        if isinstance(answer, RailOutcome) and answer.failed:
            raise step.fault(f"action `{name}` says that it has failed")
        if key := step.element.get("action_result_key"):
            changes[key] = answer
        self._store(changes, step)
        for event in made:
            self._follow(event, event is made[-1], step)
        return {"type": "InternalSystemActionFinished", "action_name": name, "status": "success"}, *made

    def _created(self, written: dict[str, Any]) -> dict[str, Any]:
        """The event of a `create event`; a variable that is not set is None in it."""
        event = {"type": written["_type"]}
        for name, value in written.items():
            if name != "_type":
                known = self._context.value(value)
                event[name] = None if known is value and str(value).startswith("$") else known
        return event

    async def _answer(self, step: _Step, name: str) -> Any:
        if step.action is None:
            raise step.fault(f"there is no action `{name}`")
        offered = {**self._given, "config": self._state.rails_config, "events": self._events}
        try:
            answer = await step.action.answer(step.element["action_params"], self._context, offered)
        except RailFault as fault:  # ours, and without a text
            raise step.fault(str(fault)) from None
        except Failed as error:
            raise step.fault(f"action `{name}` failed ({error})") from None
        if step.action.effects:
            self._effect = step.place
        return answer

    def _store(self, changes: Mapping[str, Any], step: _Step) -> None:
        try:
            self._context.update(changes)
        except FlowFault as fault:
            raise step.fault(str(fault)) from None
        if any(name in changes for name in REWRITTEN):
            self._context.rewritten = step.place

    def _follow(self, event: Mapping[str, Any], last: bool, step: _Step) -> None:
        """An event that an action has made. Of the intents among them NeMo says one only that is the last event."""
        kind = event["type"]
        if kind.endswith("Exception"):
            self.ran.stopped = True
        elif kind == "BotIntent" and (last or event["intent"] == "stop"):
            self._hear(event["intent"], step)
        elif kind in _SPOKEN:
            self.ran.said.append(Said("", event[_SPOKEN[kind]], step.place))

    # -- faults --------------------------------------------------------------------------------------------------------

    def _fault(self, what: str) -> FlowFault:
        return FlowFault(f"flow `{self.ran.flow}` ({self._flows[self.ran.flow].place}): {what}")

    def _cannot(self, error: Exception) -> FlowFault:
        """NeMo's machine failed. Its message may quote values: only the expression is told, as the flow has it."""
        for flow in self._flows.values():
            for number, element in enumerate(flow.elements):
                written = element.get("expression")
                if written and str(error).startswith(f"Error evaluating '{written}':"):
                    return FlowFault(f"flow `{flow.id}` ({flow.at(number)}): `{written}` cannot be computed")
        return self._fault(f"it cannot go on ({type(error).__name__})")
