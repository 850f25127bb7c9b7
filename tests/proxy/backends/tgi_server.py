"""A TGI-shaped server: its strict requests, its two kinds of errors and its streams, `data:` without a space.

Written from what its router does (`router/src` of huggingface/text-generation-inference 3.3), and held against its own
recordings in `test_tgi.py`. It says what the prompt says, word by word, and calls a tool whose name stands there.
"""

import json
import re
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from itertools import zip_longest
from typing import Any

from fake_upstream import Upstream, Wire, upstream

MODEL = "tgi-model"
MOST_TOKENS = 60  # prompt and answer together
INFO = {"model_id": MODEL, "max_stop_sequences": 4, "max_total_tokens": MOST_TOKENS, "router": "text-generation-router"}
GETS = {
    "/version": (404, b""),
    "/info": (200, json.dumps(INFO).encode()),
    "/health": (200, b""),
    "/v1/models": (200, json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]}).encode()),
}
COMMON = {"id": "", "created": 1741688515, "model": MODEL, "system_fingerprint": "3.3.6-dev0-native"}
Event = dict[str, Any]


class Refused(Exception):
    """`error_type` "" is serde's refusal, in plain text; `late` one that a stream brings as an event."""

    def __init__(self, error: str, error_type: str = "", *, late: bool = False) -> None:
        super().__init__(error)
        self.error_type = error_type
        self.late = late


def tgi() -> AbstractAsyncContextManager[Upstream]:
    return upstream(answer, GETS)


async def answer(wire: Wire) -> None:
    body, chat = wire.asked.body, wire.asked.path == "/v1/chat/completions"
    if wire.asked.headers.get("authorization") == "Bearer wrong":
        return await reply(wire, 401, b"")
    try:
        check_types(body)
        check(body, chat)
        events = list(chat_events(body) if chat else completion_events(body))
    except Refused as refused:
        if refused.late and body.get("stream"):
            return await stream(wire, [{"error": {"message": str(refused), "http_status_code": 422}}])
        error = {"error": str(refused), "error_type": refused.error_type}
        return await reply(wire, 422, json.dumps(error).encode() if refused.error_type else str(refused).encode())
    if body.get("stream"):
        return await stream(wire, events)
    await reply(wire, 200, json.dumps(whole(events, chat)).encode())


async def reply(wire: Wire, status: int, data: bytes) -> None:
    await wire.head(status, "application/json")
    await wire.send(data)
    await wire.end()


async def stream(wire: Wire, events: list[Event]) -> None:
    await wire.head(200, "text/event-stream", "x-accel-buffering: no")
    for event in events:
        await wire.send(b":\n\ndata:" + json.dumps(event, separators=(",", ":")).encode() + b"\n\n")
    await wire.send(b"data:[DONE]\n\n")
    await wire.end()


def check_types(body: Event) -> None:
    """What serde refuses before the router looks: fields of another type, twice the same, variants without a value."""
    for name, kind, expected in (("stop", list, "a sequence"), ("logit_bias", list, "a sequence"), ("n", int, "u32")):
        if body.get(name) is not None and not isinstance(body[name], kind):
            raise Refused(f'Failed to deserialize: {name}: invalid type: string "{body[name]}", expected {expected}')
    if {"max_tokens", "max_completion_tokens"} <= body.keys():
        raise Refused("Failed to deserialize: duplicate field `max_tokens`")
    if "stream" in body and body["stream"] is None:
        raise Refused("Failed to deserialize: stream: invalid type: null, expected a boolean")
    if body.get("response_format") is not None:
        if body["response_format"].get("type") not in ("json", "json_object", "regex", "json_schema"):
            raise Refused("Failed to deserialize: response_format: unknown variant")
        if "value" not in body["response_format"]:
            raise Refused("Failed to deserialize: response_format: missing field `value`")


def check(body: Event, chat: bool) -> None:
    if not chat and body.get("suffix"):
        raise Refused("Suffix is not supported and can be achieved by preprocessing the prompt.", "suffix")
    if not chat and len(prompts(body)) > 4:
        raise Refused("Number of prompts exceeds the maximum allowed batch size of 4", "batch size exceeded")
    if chat and body.get("tools") and body.get("response_format"):
        raise Refused("Tool error: Grammar and tools are mutually exclusive", "tool_error")
    limit = body.get("max_tokens", body.get("max_completion_tokens", 1))
    rules = (
        (len(body.get("stop") or ()) <= 4, "`stop` supports up to 4 stop sequences"),
        (0 < body.get("top_p", 0.5) < 1, "`top_p` must be > 0.0 and < 1.0"),
        (body.get("top_logprobs", 0) <= 5, "`top_n_tokens` must be >= 0 and <= 5"),
        (not chat or body.get("presence_penalty", 0) + 2 > 0, "`repetition_penalty` must be strictly positive"),
        ("properties" in (body.get("response_format") or {}).get("value", ["properties"]), "no 'properties' field"),
        (limit < MOST_TOKENS, f"`inputs` tokens + `max_new_tokens` must be <= {MOST_TOKENS}"),
    )
    for fine, words in rules:
        if not fine:
            raise Refused(f"Input validation error: {words}", "validation", late=True)


def prompts(body: Event) -> list[str]:
    return [body["prompt"]] if isinstance(body["prompt"], str) else body["prompt"]


def generated(prompt: str, body: Event) -> tuple[list[str], str]:
    """The tokens, and TGI's own word for why there are no more."""
    tokens = re.findall(r"\S+\s*", prompt)
    for count in range(1, len(tokens) + 1):
        if any(stop in "".join(tokens[:count]) for stop in body.get("stop") or ()):
            return tokens[:count], "stop_sequence"
        if count == body.get("max_tokens", body.get("max_completion_tokens")):
            return tokens[:count], "length"
    return [*tokens, ""], "eos_token"  # the end of text is a token too


def usage(prompt: str, count: int) -> Event:
    prompt_tokens = len(prompt.split())
    return {"prompt_tokens": prompt_tokens, "completion_tokens": count, "total_tokens": prompt_tokens + count}


def chat_events(body: Event) -> Iterator[Event]:
    prompt = next(message["content"] for message in reversed(body["messages"]) if message["role"] == "user")
    tools = [tool["function"]["name"] for tool in body.get("tools") or ()]
    called = [name for name in tools if name in prompt and body.get("tool_choice") != "none"]
    pieces: list[tuple[Event, str | None]]
    if called:  # the text ends with the call, and the token behind it that would bring the reason brings no event
        pieces = [({"tool_calls": [call]}, None) for call in tool_call(called[0])]
        count = len(pieces) + 1
    else:
        tokens, reason = generated(prompt, body)
        reasons = [None] * (len(tokens) - 1) + ["stop" if reason == "eos_token" else reason]
        pieces = [({"content": token}, why) for token, why in zip(tokens, reasons, strict=True)]
        count = len(pieces)
    common = {"object": "chat.completion.chunk", **COMMON}
    for brings, why in pieces:
        delta = {"role": "assistant", **brings}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": why}
        yield {**common, "choices": [choice], "usage": None}
    if (body.get("stream_options") or {}).get("include_usage") or not body.get("stream"):
        yield {**common, "choices": [], "usage": usage(prompt, count)}


def tool_call(name: str) -> Iterator[Event]:
    for number, arguments in enumerate(("{", '"city": ', '"Ro', 'me"}')):
        function = {"name": None if number else name, "arguments": arguments}
        yield {"index": 0, "id": "0", "type": "function", "function": function}


def completion_events(body: Event) -> Iterator[Event]:
    answers = [list(one_completion(index, prompt, body)) for index, prompt in enumerate(prompts(body))]
    for row in zip_longest(*answers):
        yield from (event for event in row if event)


def one_completion(index: int, prompt: str, body: Event) -> Iterator[Event]:
    tokens, reason = generated(prompt, body)
    for count, token in enumerate(tokens, 1):
        last = count == len(tokens)
        choice = {"index": index, "text": token, "logprobs": None, "finish_reason": reason if last else ""}
        event = {"object": "text_completion", **COMMON, "choices": [choice]}
        yield {**event, "usage": usage(prompt, count)} if last else event


def whole(events: list[Event], chat: bool) -> Event:
    """The answer at once. Choices stand in the order in which they ended, which need not be that of the prompts."""
    choices: dict[int, Event] = {}
    for choice in [choice for event in events for choice in event["choices"]]:
        brings, text = choice.get("delta", {}), choice.get("text", "")
        told = choices.setdefault(
            choice["index"], {"index": choice["index"], "logprobs": None, "text": "", "calls": []}
        )
        told["text"] += brings.get("content", text)
        told["calls"] += brings.get("tool_calls", [])
        told["finish_reason"] = {"eos_token": "stop"}.get(choice["finish_reason"], choice["finish_reason"]) or "stop"
    for told in choices.values():
        text, calls = told.pop("text"), told.pop("calls")
        told |= {"message": message(text, calls)} if chat else {"text": text}
    counts = [event["usage"] for event in events if event.get("usage")]
    total = {name: sum(count[name] for count in counts) for name in counts[0]}
    kind = "chat.completion" if chat else "text_completion"
    return {"object": kind, **COMMON, "choices": list(reversed(choices.values())), "usage": total}


def message(text: str, calls: list[Event]) -> Event:
    if not calls:
        return {"role": "assistant", "content": text}
    arguments = "".join(call["function"]["arguments"] for call in calls)
    function = {"description": None, "name": calls[0]["function"]["name"], "arguments": arguments}
    return {"role": "assistant", "tool_calls": [{"id": "0", "type": "function", "function": function}]}
