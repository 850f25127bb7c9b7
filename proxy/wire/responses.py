"""A `/v1/responses` request, and the one chat request that it comes to: the model server is asked as for any chat.

Field names and shapes are those of OpenAI's specification of the two routes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxy.wire.messages import BadRequest
from proxy.wire.request import load
from proxy.wire.responses_input import as_messages, reference

Body = dict[str, Any]

_LOGPROBS = "message.output_text.logprobs"
_INCLUDED = frozenset({_LOGPROBS, "reasoning.encrypted_content"})  # the second: there is none, and nothing is lost
_TYPES: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "input": ((str, list), "a string or a list of items"),
    "instructions": (str, "a string"),
    "previous_response_id": (str, "a string"),
    "max_output_tokens": (int, "an integer"),
    "top_logprobs": (int, "an integer"),
    "include": (list, "a list of strings"),
    "metadata": (dict, "an object"),
    "reasoning": (dict, "an object"),
    "text": (dict, "an object"),
    "tools": (list, "a list"),
    "tool_choice": ((str, dict), "a string or an object"),
    "parallel_tool_calls": (bool, "a boolean"),
    "stream": (bool, "a boolean"),
    "store": (bool, "a boolean"),
    "background": (bool, "a boolean"),
}
_REFUSED = {
    "background": "wait for the answer, or stream it",
    "conversation": "send `previous_response_id`, or the whole conversation as `input`",
    "prompt": "send `instructions` and `input`",
    "context_management": "leave it out: nothing is compacted",
    # the names that chat/completions has for things which have others here
    "messages": "send `input`",
    "functions": "send `tools`",
    "function_call": "send `tool_choice`",
    "max_tokens": "send `max_output_tokens`",
    "max_completion_tokens": "send `max_output_tokens`",
    "response_format": "send `text.format`",
    "reasoning_effort": "send `reasoning.effort`",
    "logprobs": f'send `include: ["{_LOGPROBS}"]`',
    "n": "leave it out: a response is one answer",
}
# What is said otherwise to chat/completions, or not at all; everything else passes along.
_TRANSLATED = frozenset({
    "input", "instructions", "previous_response_id", "max_output_tokens", "max_tool_calls", "top_logprobs", "include",
    "reasoning", "text", "tools", "tool_choice", "parallel_tool_calls", "truncation", "stream_options", "stream",
    "store", *_REFUSED,
})  # fmt: skip


class NotKept(BadRequest):
    """What the request builds upon is not kept, or no longer: answered with 404, as an object that is not there."""

    status = 404


@dataclass(frozen=True, slots=True)
class ResponsesRequest:
    """A request for a response. `body` is the client's own object; nothing in the house changes it."""

    body: Body
    previous: str | None  # the id of the response that it goes on from
    references: tuple[str, ...]  # ids of earlier items that stand in `input` by their id alone
    session: str | None  # the conversation's name, from `metadata.session_id`
    stream: bool
    store: bool  # whether it may be gone on from


def read(raw: bytes) -> ResponsesRequest:
    """The request in `raw`. Raises `BadRequest` for what the chat request that it becomes would not show."""
    body = load(raw)
    _check(body)
    said = body["input"]
    found = (reference(item) for item in said) if isinstance(said, list) else ()
    return ResponsesRequest(
        body,
        body.get("previous_response_id") or None,
        tuple(dict.fromkeys(name for name in found if name is not None)),
        (body.get("metadata") or {}).get("session_id") or None,
        stream=body.get("stream") is True,
        store=body.get("store") is not False,
    )


def as_chat(request: ResponsesRequest, before: Sequence[Body], items: Mapping[str, Body]) -> Body:
    """The body for chat/completions. Raises `BadRequest`, and `NotKept` for a reference that `items` lacks.

    before: the chat messages of the conversation up to the previous response. items: id -> chat message, for
    `request.references`. What is kept of this request is for the house alone to say: upstream gets `store: false`.
    """
    body = request.body
    lost = [name for name in request.references if name not in items]
    if lost:
        raise not_kept("input")
    asked = as_messages(body["input"], before, items)
    return {
        **{name: value for name, value in body.items() if name not in _TRANSLATED},
        "messages": [*_instructions(body), *before, *asked],
        **_settings(body),
        **_tools(body),
        "stream": request.stream,
        **({"stream_options": {"include_usage": True}} if request.stream else {}),  # a response always tells its usage
        "store": False,
    }


def in_own_words(fault: BadRequest) -> BadRequest:
    """What is wrong with the chat request that a request became, said of the field that the app sent."""
    words = re.sub(r"`messages\b[^`]*`", "`input`", str(fault))
    param = "input" if (fault.param or "").startswith("messages") else fault.param
    return BadRequest(words, param, fault.code)


def not_kept(param: str) -> NotKept:
    """What is said of a previous response (`previous_response_id`), one to delete (`response_id`) or an item (`input`)
    that is not kept.
    """
    if param == "previous_response_id":
        words = "The previous response is not kept: its time is over, or it had `store: false` or another key."
        return NotKept(f"{words} Send the conversation as `input`.", param, "previous_response_not_found")
    if param == "response_id":
        return NotKept("There is no such response, or not any more.", param, "response_not_found")
    words = "An item that `input` refers to is not kept: its time is over, or it was made with `store: false`."
    return NotKept(f"{words} Send the item itself.", param, "item_not_found")


def without_instructions(request: ResponsesRequest, messages: Sequence[Body]) -> list[Body]:
    """Of the messages that `as_chat` made those that the next response goes on from: instructions hold only once."""
    return list(messages[1:] if request.body.get("instructions") else messages)


def _check(body: Body) -> None:
    if body.get("input") is None:
        raise BadRequest("`input` must be a string or a list of items.", "input", "missing_required_parameter")
    for name, (kind, words) in _TYPES.items():
        value = body.get(name)
        if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            raise BadRequest(f"`{name}` must be {words}.", name, "invalid_type")
    for name, remedy in _REFUSED.items():
        if body.get(name):
            raise BadRequest(f"`{name}` is not served at /v1/responses: {remedy}.", name, "unsupported_parameter")
    if any(not isinstance(one, str) or one not in _INCLUDED for one in body.get("include") or ()):
        raise BadRequest(f"`include` may have {' and '.join(sorted(_INCLUDED))}.", "include", "unsupported_value")
    if body.get("truncation") not in (None, "auto", "disabled"):
        raise BadRequest("`truncation` must be auto or disabled.", "truncation", "invalid_value")
    if not isinstance((body.get("metadata") or {}).get("session_id", ""), str):
        name = "metadata.session_id"
        raise BadRequest(f"`{name}` must be a string: the conversation's name.", name, "invalid_type")


def _instructions(body: Body) -> list[Body]:
    return [{"role": "system", "content": body["instructions"]}] if body.get("instructions") else []


def _settings(body: Body) -> Body:
    """The settings that have another name or place in a chat request."""
    text, settings = body.get("text") or {}, {}
    if body.get("max_output_tokens") is not None:
        settings["max_completion_tokens"] = _at_least_one(body["max_output_tokens"])
    if (body.get("reasoning") or {}).get("effort") is not None:
        settings["reasoning_effort"] = body["reasoning"]["effort"]
    if text.get("verbosity") is not None:
        settings["verbosity"] = text["verbosity"]
    if body.get("top_logprobs"):
        settings["top_logprobs"] = body["top_logprobs"]
    if _LOGPROBS in (body.get("include") or ()) or body.get("top_logprobs"):
        settings["logprobs"] = True
    return {**settings, **_format(text.get("format"))}


def _at_least_one(count: int) -> int:
    if count < 1:
        words = "`max_output_tokens` must be at least 1, or left out."
        raise BadRequest(words, "max_output_tokens", "invalid_value")
    return count


def _format(form: object) -> Body:
    """`text.format` as `response_format`: a schema is one object deeper there."""
    kind = form.get("type") if isinstance(form, dict) else None
    if form is None or kind == "text":
        return {}
    if kind == "json_object":
        return {"response_format": {"type": "json_object"}}
    whole = isinstance(form, dict) and isinstance(form.get("name"), str) and isinstance(form.get("schema"), dict)
    if not isinstance(form, dict) or kind != "json_schema" or not whole:
        words = "`text.format` must have the type text, json_object, or json_schema with a `name` and a `schema`."
        raise BadRequest(words, "text.format", "unsupported_value")
    return {"response_format": {"type": "json_schema", "json_schema": _without_type(form)}}


def _tools(body: Body) -> Body:
    """`tools` and what goes with them. Without tools nothing does: model servers refuse a choice among none."""
    tools = [_nested(tool, f"tools[{number}]") for number, tool in enumerate(body.get("tools") or ())]
    choice = body.get("tool_choice")
    if not tools and choice in (None, "auto", "none"):
        return {}
    parallel = body.get("parallel_tool_calls")
    told = {} if parallel is None else {"parallel_tool_calls": parallel}
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        tools, choice = _allowed(tools, choice), choice.get("mode", "auto")
    chosen = {} if choice is None else {"tool_choice": _choice(choice)}
    return {"tools": tools, **chosen, **told} if tools else chosen


def _nested(tool: object, place: str) -> Body:
    """A function as chat/completions has it; of other tools none is guarded, and no model server of ours has them."""
    if not isinstance(tool, dict) or tool.get("type") != "function":
        raise BadRequest(
            f"`{place}` must be of the type function: no other tool is served.", place, "unsupported_value"
        )
    if not isinstance(tool.get("name"), str):
        raise BadRequest(f"`{place}.name` must be a string.", f"{place}.name", "missing_required_parameter")
    return {"type": "function", "function": _without_type(tool)}


def _without_type(flat: Body) -> Body:
    return {name: value for name, value in flat.items() if name != "type" and value is not None}


def _allowed(tools: list[Body], choice: Body) -> list[Body]:
    """The tools that the choice leaves: no model server of ours knows the choice itself."""
    listed = choice.get("tools")
    names = [one.get("name") for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    left = [tool for tool in tools if tool["function"]["name"] in names]
    if not left:
        raise BadRequest("`tool_choice.tools` must name some of `tools`.", "tool_choice", "invalid_value")
    return left


def _choice(choice: object) -> object:
    if isinstance(choice, dict) and choice.get("type") == "function" and isinstance(choice.get("name"), str):
        return {"type": "function", "function": {"name": choice["name"]}}
    if choice not in ("auto", "none", "required"):
        words = "`tool_choice` must be auto, none, required, allowed_tools, or a function by its `name`."
        raise BadRequest(words, "tool_choice", "unsupported_value")
    return choice
