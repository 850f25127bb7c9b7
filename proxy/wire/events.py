"""The events of a streamed answer: what one brings, what of it may pass, and those that the house writes itself."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import orjson

from proxy.turn import Delta

# Text that no rail has judged: it does not pass. (What is unknown and not listed passes, as law 3 wants.)
_UNJUDGED_IN_DELTA = frozenset({
    "reasoning", "reasoning_content", "reasoning_details", "thinking", "thinking_blocks", "thought", "analysis",
    "tool_calls", "function_call", "refusal", "audio", "images", "annotations", "citations",
})  # fmt: skip
_UNJUDGED_IN_CHOICE = frozenset({"text", "message"})
_SHOWS_PROMPT = frozenset({"prompt_logprobs", "prompt_token_ids", "prompt_text"})
_FOLLOWS_TEXT = frozenset({"logprobs", "token_ids"})  # true of the text as it came; dropped once it changes

Usage = dict[str, Any]
NO_USAGE: Usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def choice(event: Mapping[str, Any]) -> dict[str, Any] | None:
    """The event's first choice; None for events without one (usage)."""
    choices = event.get("choices")
    found = choices[0] if isinstance(choices, list) and choices else None
    return found if isinstance(found, dict) and found.get("index", 0) == 0 else None


def content(event: Mapping[str, Any]) -> str:
    """The text that the event brings."""
    delta = (choice(event) or {}).get("delta")
    text = delta.get("content") if isinstance(delta, dict) else None
    return text if isinstance(text, str) else ""


def finish_reason(event: Mapping[str, Any]) -> str | None:
    """Why the answer ended, if this event says so (TGI's empty string says nothing)."""
    return (choice(event) or {}).get("finish_reason") or None


def admitted(delta: Delta, running_usage: bool) -> Delta:
    """The event without what may not pass: unjudged text, the prompt, usage that was not asked for.

    The same object if nothing goes.
    """
    event = delta.event
    kept = {key: value for key, value in event.items() if key not in _SHOWS_PROMPT or value is None}
    if "usage" in kept and not running_usage and kept.get("choices") and kept["usage"] is not None:
        del kept["usage"]
    changed = len(kept) != len(event)
    choices = event.get("choices")
    if isinstance(choices, list):
        clean = [_clean(one) for one in choices if isinstance(one, dict) and one.get("index", 0) == 0]
        if len(clean) != len(choices) or any(new is not old for new, old in zip(clean, choices, strict=False)):
            kept["choices"], changed = clean, True
    return rewritten(kept) if changed else delta


def _clean(choice: dict[str, Any]) -> dict[str, Any]:
    delta = choice.get("delta")
    unjudged = [key for key in delta if key in _UNJUDGED_IN_DELTA and delta[key]] if isinstance(delta, dict) else []
    if not unjudged and _UNJUDGED_IN_CHOICE.isdisjoint(choice):
        return choice
    clean = {key: value for key, value in choice.items() if key not in _UNJUDGED_IN_CHOICE}
    if isinstance(delta, dict):
        clean["delta"] = {key: value for key, value in delta.items() if key not in unjudged}
    return clean


def with_text(event: Mapping[str, Any], text: str) -> Delta:
    """The event with other text; what was true of the old text alone is left out."""
    first = choice(event) or {"index": 0, "delta": {}}
    changed = {key: value for key, value in first.items() if key not in _FOLLOWS_TEXT}
    changed["delta"] = {**(first.get("delta") or {}), "content": text}
    return rewritten({**event, "choices": [changed]})


def rewritten(event: Mapping[str, Any]) -> Delta:
    """An event of the house's own writing."""
    body = dict(event)
    return Delta(orjson.dumps(body), body)


def estimated(body: Mapping[str, Any], events: int) -> Usage:
    """The usage of a backend that told none before it was cancelled: about four characters a token asked, one token an
    event.
    """
    prompt = sum(len(str(message.get("content") or "")) for message in body["messages"]) // 4
    return {"prompt_tokens": prompt, "completion_tokens": events, "total_tokens": prompt + events, "estimated": True}


class Skeleton:
    """What every event of one answer has in common (id, model, time), learnt from the backend's events where there are
    any.
    """

    def __init__(self, turn: str, model: str) -> None:
        self._head: dict[str, Any] = {
            "id": f"chatcmpl-{turn}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
        }
        self._learnt = False

    def learn(self, event: Mapping[str, Any]) -> None:
        """Takes id, time and model over from the backend's first event (TGI sends an empty id: ours stays)."""
        if not self._learnt:
            self._learnt = True
            self._head |= {key: event[key] for key in ("id", "created", "model") if event.get(key)}

    def text(self, text: str, role: bool = False) -> Delta:
        """An event that brings text; `role` for the first of an answer."""
        delta = {"role": "assistant", "content": text} if role else {"content": text}
        return self._event([{"index": 0, "delta": delta, "finish_reason": None}])

    def finish(self, reason: str) -> Delta:
        """The event that ends the answer."""
        return self._event([{"index": 0, "delta": {}, "finish_reason": reason}])

    def usage(self, usage: Usage) -> Delta:
        """The event that brings the usage."""
        return rewritten({**self._head, "choices": [], "usage": usage})

    def _event(self, choices: list[dict[str, Any]]) -> Delta:
        return rewritten({**self._head, "choices": choices})
