"""TGI's own ways: a request put into what its router takes, and its answer into OpenAI's shape.

Source of the rules: `router/src` of huggingface/text-generation-inference 3.3 (`lib.rs`, `chat.rs`, `validation.rs`).
Its request types are strict about the fields they have and pass over those they do not have (`store`, `metadata`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from proxy.backends._errors import unreadable
from proxy.turn import Ask, BackendFault, Delta
from proxy.wire.usage import NO_USAGE, told_usage

# Its chat route has no such field, but makes one of `presence_penalty`.
KNOWS = frozenset({"repetition_penalty"})

_MOST_STOPS = 4  # its `--max-stop-sequences`, and OpenAI's limit
_MOST_PROMPTS = 4  # its `--max-client-batch-size`
_MOST_LOGPROBS = 5
_FINISH = {"": None, "eos_token": "stop", "stop_sequence": "stop"}


def adapted(ask: Ask) -> dict[str, Any]:
    """The body as TGI takes it; the ask is left as it is.

    Raises `BackendFault` 400 for what TGI cannot do and would refuse in its own words or pass over in silence.
    """
    # A field that is null is one left out, and `logit_bias` never has an effect: as OpenAI's mapping it is refused.
    body = {name: value for name, value in ask.body.items() if value is not None and name != "logit_bias"}
    _possible(body)
    if "max_completion_tokens" in body:  # to TGI another name of `max_tokens`, and one field must not come twice
        limit = body.pop("max_completion_tokens")
        body["max_tokens"] = min(limit, body.get("max_tokens", limit))
    if isinstance(body.get("stop"), str):
        body["stop"] = [body["stop"]]
    if _number(body, "top_p") >= 1:
        del body["top_p"]  # must be below 1, where leaving it out means 1
    if _number(body, "top_logprobs") > _MOST_LOGPROBS:
        body["top_logprobs"] = _MOST_LOGPROBS
    if "response_format" in body:
        body |= _grammar(body.pop("response_format"))
    if ask.route == "chat/completions":
        body |= _penalty(body.pop("presence_penalty", None), body.pop("repetition_penalty", None))
        body["messages"] = [_message(message) for message in body.get("messages", ())]
    return body


def _possible(body: dict[str, Any]) -> None:
    if _number(body, "n") > 1:
        raise _refusal("n", "it makes one choice; ask several times instead")
    if body.get("suffix"):
        raise _refusal("suffix", "it cannot fill in text; leave it out")
    for name, most in (("stop", _MOST_STOPS), ("prompt", _MOST_PROMPTS)):
        value = body.get(name)
        if isinstance(value, list) and len(value) > most:
            raise _refusal(name, f"it takes {most} at most, and there are {len(value)}")


def _number(body: dict[str, Any], name: str) -> float:
    """The field's number; 0 for what is none, which TGI refuses by itself."""
    value = body.get(name)
    return value if isinstance(value, int | float) else 0


def _refusal(param: str, why: str) -> BackendFault:
    message = f"`{param}` cannot be as it is with this model server (TGI): {why}."
    return BackendFault(400, message, "invalid_request_error", param=param)


def _grammar(wanted: dict[str, Any]) -> dict[str, Any]:
    """`response_format` in TGI's form, the same since 1.4; nothing for plain text."""
    kind, given = wanted.get("type"), wanted.get("json_schema")
    if kind == "json_object":  # TGI refuses a schema without properties; with none of them the model can but write {}
        raise _refusal("response_format", "it makes JSON by a schema only; send one as `json_schema`")
    if kind == "json_schema" and isinstance(given, dict) and "schema" in given:
        return {"response_format": {"type": "json", "value": given["schema"]}}
    return {} if kind == "text" else {"response_format": wanted}


def _penalty(presence: Any, repetition: float | None) -> dict[str, Any]:
    """TGI's repetition penalty is 2 + `presence_penalty`: one of 0, which means none, would be a penalty of 2."""
    if repetition is not None:
        return {"presence_penalty": repetition - 2}
    return {"presence_penalty": presence} if presence else {}


def _message(message: dict[str, Any]) -> dict[str, Any]:
    """TGI reads content before tool calls and then forgets the calls: content that is empty is left out."""
    if message.get("tool_calls") and not message.get("content"):
        return {name: value for name, value in message.items() if name != "content"}
    return message


class Answer:
    """One streamed answer on its way into OpenAI's shape. An event with nothing to put right keeps its bytes."""

    def __init__(self) -> None:
        self._begun: set[tuple[int, int]] = set()  # choice and tool call whose id and name have been told
        self._unfinished: dict[int, None] = {}  # choices that call a tool and may never say that they have finished
        self._called: set[int] = set()  # choices that have called a tool
        self._counts: list[dict[str, Any]] = []  # the usage of each prompt, which comes with its last text
        self._common: dict[str, Any] = {}  # what all events of the answer have

    def events(self, delta: Delta) -> Iterator[Delta]:
        """What stands for this event."""
        event = delta.event
        if not event.get("choices"):
            if event.get("usage"):  # it stands behind everything else
                yield from self._finishes()
            yield delta
            return
        self._common = {name: value for name, value in event.items() if name not in ("choices", "usage")}
        fixed = {**event, "choices": [self._choice(choice) for choice in event["choices"]]}
        if event.get("usage"):
            self._counts += [count] if (count := told_usage(event)) else []
            fixed["usage"] = None
        yield delta if fixed == event else _delta(fixed)

    def end(self) -> Iterator[Delta]:
        """What is missing at the end of an answer that is complete: finish reasons, and the sum of all usage."""
        yield from self._finishes()
        if self._counts:
            usage = {name: sum(count.get(name, 0) for count in self._counts) for name in NO_USAGE}
            yield _delta({**self._common, "choices": [], "usage": usage})

    def _finishes(self) -> Iterator[Delta]:
        for index in self._unfinished:
            choice = {"index": index, "delta": {}, "logprobs": None, "finish_reason": "tool_calls"}
            yield _delta({**self._common, "choices": [choice]})
        self._unfinished.clear()

    def _choice(self, choice: dict[str, Any]) -> dict[str, Any]:
        index, delta, finish = _index(choice), choice.get("delta"), choice.get("finish_reason")
        fixed = {**choice, "finish_reason": _FINISH.get(str(finish), finish)}
        if isinstance(delta, dict) and (calls := _calls(delta)):
            self._called.add(index)
            self._unfinished[index] = None
            fixed["delta"] = {**delta, "tool_calls": [self._call(index, call) for call in calls]}
        if fixed["finish_reason"]:
            self._unfinished.pop(index, None)
            if fixed["finish_reason"] == "stop" and index in self._called:
                fixed["finish_reason"] = "tool_calls"
        return fixed

    def _call(self, choice: int, call: dict[str, Any]) -> dict[str, Any]:
        """Id, type and name with the first piece of a call alone: clients join what comes twice."""
        function = {name: value for name, value in (call.get("function") or {}).items() if value is not None}
        place = (choice, _index(call))
        if place not in self._begun:
            self._begun.add(place)
            return {**call, "function": function}
        function.pop("name", None)
        return {"index": place[1], "function": function}


def _calls(delta: dict[str, Any]) -> list[dict[str, Any]]:
    """The pieces of tool calls. TGI 2 sent one that stood in no list. Raises `BackendFault` for what are none."""
    given = delta.get("tool_calls") or []
    calls = [given] if isinstance(given, dict) else given
    if not (isinstance(calls, list) and all(isinstance(call, dict) for call in calls)):
        raise unreadable("the tool calls of an event are not a list of objects")
    if not all(isinstance(call.get("function") or {}, dict) for call in calls):
        raise unreadable("the function of a tool call is not an object")
    return calls


def _index(told: dict[str, Any]) -> int:
    """The number of a choice or call. Raises `BackendFault` for what is none."""
    index = told.get("index", 0)
    if type(index) is not int:
        raise unreadable("the index of a choice or call is not a number")
    return index


def _delta(event: dict[str, Any]) -> Delta:
    return Delta(orjson.dumps(event), event)
