"""The demo buddy's answers in vLLM's shapes: the events of a stream, and the whole answer collected from them."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import orjson

from proxy.backends._buddy import reply, text_of
from proxy.backends._buddy_tools import structured, tool_call
from proxy.turn import Ask, Delta

MODEL = "buddy"
LIMITS = ("max_tokens", "max_completion_tokens")
_TOKEN = re.compile(r"\s*(?:[가-힣]{1,2}|[^\s가-힣]{1,4})|\s+")  # about what a model's tokens are


@dataclass(frozen=True, slots=True)
class Step:
    """One event of one choice: what it brings, and how many tokens of the choice have come with it."""

    index: int
    brings: dict[str, Any]
    tokens: int
    finish: str | None = None


class Answer:
    """The events of one answer, which share their id, time and model."""

    def __init__(self, ask: Ask) -> None:
        options = ask.body.get("stream_options") or {}
        self._running_usage = bool(options.get("continuous_usage_stats"))
        chat = ask.route == "chat/completions"
        self._common = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex[:16]}",
            "object": "chat.completion.chunk" if chat else "text_completion",
            "created": int(time.time()),
            "model": MODEL,
            "system_fingerprint": "buddy-1",
        }
        self._choices = _chat(ask.body) if chat else _completions(ask.body)
        self._prompt_tokens = _prompt_tokens(ask.body)

    def steps(self) -> Iterator[Step]:
        """The events of all choices, a token of each in turn."""
        for row in zip_longest(*self._choices):
            yield from (step for step in row if step)

    def chunk(self, step: Step) -> Delta:
        """The event of one step."""
        choice = {"index": step.index, **step.brings, "logprobs": None, "finish_reason": step.finish}
        if step.finish:
            choice["stop_reason"] = None
        return self._event([choice], step.tokens if self._running_usage else None)

    def usage(self) -> Delta:
        """The event behind the answer that has only its usage."""
        return self._event([], sum(choice[-1].tokens for choice in self._choices))

    def _event(self, choices: list[dict[str, Any]], tokens: int | None) -> Delta:
        event: dict[str, Any] = {**self._common, "choices": choices}
        if tokens is not None:
            total = self._prompt_tokens + tokens
            event["usage"] = {
                "prompt_tokens": self._prompt_tokens,
                "total_tokens": total,
                "completion_tokens": tokens,
            }
        return Delta(orjson.dumps(event), event)


def collected(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The whole answer of a stream whose last event is its usage."""
    *chunks, last = events
    choices: dict[int, dict[str, Any]] = {}
    for choice in (choice for event in chunks for choice in event["choices"]):
        told = choices.setdefault(choice["index"], {"index": choice["index"]})
        told |= {name: value for name, value in choice.items() if name not in ("delta", "text")}
        if "text" in choice:
            told["text"] = told.get("text", "") + choice["text"]
        else:
            _add(told.setdefault("message", {"role": "assistant", "content": None}), choice["delta"])
    kind = last["object"].removesuffix(".chunk")
    return {**last, "object": kind, "choices": [choices[index] for index in sorted(choices)]}


def _add(message: dict[str, Any], delta: dict[str, Any]) -> None:
    """Adds a chunk's delta to the message."""
    if delta.get("content"):
        message["content"] = (message["content"] or "") + delta["content"]
    for piece in delta.get("tool_calls") or ():
        if "id" in piece:
            call = {"id": piece["id"], "type": "function", "function": {**piece["function"], "arguments": ""}}
            message.setdefault("tool_calls", []).append(call)
        else:
            message["tool_calls"][-1]["function"]["arguments"] += piece["function"]["arguments"]


def _chat(body: dict[str, Any]) -> list[list[Step]]:
    """The steps of each choice: all are alike."""
    call = tool_call(body)
    text = structured(body) or reply(body["messages"])
    choices: list[list[Step]] = []
    for index in range(body.get("n") or 1):
        opening = Step(index, {"delta": {"role": "assistant", "content": ""}}, 0)
        brings = _call(*call) if call else [{"delta": {"content": token}} for token in _TOKEN.findall(text)]
        choices.append([opening, *_limited(index, brings, body, bool(call))])
    return choices


def _completions(body: dict[str, Any]) -> list[list[Step]]:
    """The steps of each choice of each prompt."""
    prompts = [prompt for prompt in _prompts(body) for _ in range(body.get("n") or 1)]
    told = [_TOKEN.findall(reply([{"role": "user", "content": prompt}])) for prompt in prompts]
    return [_limited(index, [{"text": token} for token in tokens], body) for index, tokens in enumerate(told)]


def _call(name: str, arguments: str) -> list[dict[str, Any]]:
    """A tool call in pieces: its name, then its arguments."""
    head = {"id": f"chatcmpl-tool-{uuid.uuid4().hex[:16]}", "type": "function", "index": 0, "function": {"name": name}}
    pieces = [{"index": 0, "function": {"arguments": token}} for token in _TOKEN.findall(arguments)]
    return [{"delta": {"content": None, "tool_calls": [piece]}} for piece in (head, *pieces)]


def _limited(index: int, brings: list[dict[str, Any]], body: dict[str, Any], call: bool = False) -> list[Step]:
    """As many tokens as the request allows, and the reason of the end: behind a tool call in an event of its own."""
    count = min([len(brings), *(body[name] for name in LIMITS if body.get(name) is not None)])
    cut = count < len(brings)
    steps = [Step(index, brought, number) for number, brought in enumerate(brings[:count], 1)]
    if call:
        return [*steps, Step(index, {"delta": {}}, count, "length" if cut else "tool_calls")]
    return [*steps[:-1], Step(index, brings[count - 1], count, "length" if cut else "stop")]


def _prompts(body: dict[str, Any]) -> list[str]:
    return [body["prompt"]] if isinstance(body["prompt"], str) else body["prompt"]


def _prompt_tokens(body: dict[str, Any]) -> int:
    texts = _prompts(body) if "prompt" in body else [text_of(message) for message in body["messages"]]
    return sum(len(_TOKEN.findall(text)) for text in texts)
