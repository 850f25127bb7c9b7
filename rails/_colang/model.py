"""Flows that need a language model: NeMo's own actions and prompts, asking the policy's judge.

They run on the same runner as all flows. What NeMo would have brought with it stays away: its model clients (whatever
models a configuration names, the judge is asked), its cache of verdicts, its embedding model, its log of prompts.
Nothing is ever generated for the user: where no flow of a dialog decides, the app's model answers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from nemoguardrails.actions.llm.generation import LLMGenerationActions
from nemoguardrails.context import llm_stats_var
from nemoguardrails.llm.taskmanager import LLMTaskManager
from nemoguardrails.types import ChatMessage, LLMResponse

from proxy.turn import Judge, Segment
from rails._colang.context import Context, FlowFault
from rails._colang.folder import Flow, Folder, Place
from rails._colang.intents import Intents
from rails._colang.nemo import ActionDispatcher, flow_id
from rails._colang.runner import Ran, Runner

_MEANT = "what the user means"  # the name of this question in a fault


class NoJudge(FlowFault):
    """A flow needs a model, and this turn has none that could be asked."""


class Judged:
    """The slow flows of one folder; keeps nothing between two checks. To be built off the event loop.

    model: the judge's name. actions: Kindrail's own. lines: names of the policy's lines that a `bot ...` may say.
    """

    def __init__(
        self, folder: Folder, model: str, actions: Mapping[str, Callable[..., Any]], lines: Sequence[str] = ()
    ) -> None:
        self._model = model
        self._config = config = _config(folder.config)
        self._tasks = LLMTaskManager(config)
        flows = {**{flow.id: flow for flow in _read(config.flows)}, **folder.flows}
        self._dialog = _dialog(flows.values(), config.user_messages) if folder.dialog else {}
        self._known = {*folder.messages, *lines}
        self._places = {name: flow.place for name, flow in flows.items()}
        self._folder = replace(
            folder, config=config, input=folder.slow_input, output=folder.slow_output,
            flows={name: _answering(flow) for name, flow in flows.items()},
        )  # fmt: skip
        self._runner = Runner(self._folder, {**_library(flows.values()), **folder.functions, **actions})
        self._intents = LLMGenerationActions(config, None, self._tasks, _no_index)
        self._intents.user_message_index = Intents(config.user_messages)

    async def check(
        self, direction: Literal["input", "output"], segment: Segment, context: Context, given: Mapping[str, Any]
    ) -> AsyncIterator[Ran]:
        """What each slow flow does to the segment, in order, until one decides; then, for a user, the dialog.

        context: read and changed, as by `Runner.run`. given: what actions get whose signature names it.
        Raises `NoJudge` without one, and `FlowFault` where the judge or an action fails.
        """
        llm_stats_var.set(None)  # else NeMo would go on counting for as long as this task lives
        for flow in self._folder.input if direction == "input" else self._folder.output:
            ran = await self._run(flow, segment, context, given)
            yield ran
            if ran.stopped or (ran.said and direction == "input"):
                return
        if self._dialog and segment.role == "user":
            for flow in self._dialog_flows(await self._intent(segment, context)):
                ran = await self._run(flow, segment, context, given)
                if ran.said or ran.stopped:
                    yield ran
                    return

    async def _run(self, flow: str, segment: Segment, context: Context, given: Mapping[str, Any]) -> Ran:
        model = _Model(self._model, segment.turn.judge)
        what = f"flow `{flow}` ({self._places[flow_id(flow)]})"
        context["triggered_input_rail"] = context["triggered_output_rail"] = flow  # NeMo's actions read parameters here
        offered = {**given, **self._models(model), "llm_task_manager": self._tasks}
        try:
            ran = await self._runner.run(flow, context, offered)
        except FlowFault:
            model.blame(what)
            raise
        model.blame(what)
        # What has no text is not said: NeMo would have a model write it.
        ran.said = [said for said in ran.said if said.text is not None or said.name in self._known]
        return ran

    def _models(self, model: _Model) -> dict[str, Any]:
        """The judge, by all the names under which an action asks for a model."""
        named = {f"{one.type}_llm": model for one in self._config.models}
        return {"llm": model, "llms": _Kinds(main=model), **named}

    # -- the dialog ----------------------------------------------------------------------------------------------------

    async def _intent(self, segment: Segment, context: Context) -> str:
        """What the user means, by the examples alone or by the judge with the most alike of them, as configured."""
        model = _Model(self._model, segment.turn.judge)
        event = {"type": "UserMessage", "text": context["user_message"]}
        try:
            found = await self._intents.generate_user_intent(
                events=[event], context=dict(context), config=self._config, llm=model
            )
        except Exception as error:
            model.blame(_MEANT)
            raise FlowFault(f"{_MEANT}: this could not be asked ({type(error).__name__})") from None
        return str(found.events[0]["intent"])

    def _dialog_flows(self, intent: str) -> list[str]:
        return [flow for flow, meant in self._dialog.items() if meant in (intent, "...")]


class _Model:
    """What NeMo takes for a language model: the turn's judge. Remembers why it failed, which NeMo may swallow."""

    provider_name = "kindrail"
    provider_url = None

    def __init__(self, name: str, judge: Judge | None) -> None:
        self.model_name = name
        self.fault: Exception | None = None
        self._judge = judge

    async def generate_async(
        self, prompt: str | list[ChatMessage], *, stop: list[str] | None = None, **settings: Any
    ) -> LLMResponse:
        asked = {"stop": stop, **settings}
        try:
            if self._judge is None:
                raise NoJudge
            text = await self._judge(
                self.model_name, _messages(prompt), {name: value for name, value in asked.items() if value is not None}
            )
        except Exception as fault:
            self.fault = fault
            raise
        return LLMResponse(content=text)

    def blame(self, what: str) -> None:
        """Raises where the judge has failed; without the fault's own message, which may quote what was asked."""
        if isinstance(self.fault, NoJudge):
            raise NoJudge(f"{what}: it needs a model to ask, and there is none") from None
        if self.fault is not None:
            raise FlowFault(f"{what}: the judge failed ({type(self.fault).__name__})") from None

    def stream_async(self, *_: Any, **__: Any) -> Any:
        """NeMo asks for it, and never calls it here."""
        raise NotImplementedError


class _Kinds(dict[str, _Model]):
    """NeMo's models by kind (`content_safety`): whichever is asked for, it is the judge."""

    def get(self, kind: str, default: Any = None) -> _Model:
        return self["main"]


def _messages(prompt: str | list[ChatMessage]) -> list[dict[str, str]]:
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    return [{"role": message.role.value, "content": str(message.content or "")} for message in prompt]


def _config(config: Any) -> Any:
    """The folder's configuration without what would act by itself: exceptions in the place of lines, servers, and
    one call that asks a model for the whole answer.
    """
    own = config.model_copy(deep=True)
    own.enable_rails_exceptions = False
    own.actions_server_url = None
    own.rails.dialog.single_call.enabled = False
    return own


def _library(flows: Any) -> dict[str, Callable[..., Any]]:
    """NeMo's own actions that these flows call."""
    dispatcher = ActionDispatcher()
    called = {one["action_name"] for flow in flows for one in flow.elements if one["_type"] == "run_action"}
    found = {name: dispatcher.get_action(name) for name in called if dispatcher.has_registered(name)}
    return {name: action for name, action in found.items() if action is not None}


def _read(flows: Sequence[Mapping[str, Any]]) -> Iterator[Flow]:
    """The flows of NeMo's own configuration, which has those of a dialog too."""
    for flow in flows:
        elements = [one for one in flow["elements"] if one["_type"] != "meta"]
        mapped = [one["_source_mapping"] for one in elements if one.get("_source_mapping")]
        where: Mapping[str, Any] = mapped[0] if mapped else {}
        place = Place(where.get("filename", ""), where.get("line_number", 1))
        yield Flow(flow["id"], "", place, elements, subflow=True)


def _dialog(flows: Any, examples: Mapping[str, Any]) -> dict[str, str]:
    """The flows that begin with `user ...`, with what they wait for; none where nobody could tell what is meant."""
    first = ((flow.id, flow.elements[0]) for flow in flows if len(flow.elements) > 1)
    return {name: one["intent_name"] for name, one in first if one["_type"] == "UserIntent"} if examples else {}


def _answering(flow: Flow) -> Flow:
    """A flow of a dialog from behind its `user ...`, so that it can be started once that has been heard."""
    spoken = flow.elements and flow.elements[0]["_type"] == "UserIntent"
    return replace(flow, elements=flow.elements[1:]) if spoken else flow


def _no_index(_: object) -> Any:
    """NeMo would make an embedding index here; ours is there already."""
    raise NotImplementedError
