"""The events of a streamed answer: what one brings, what of it may pass, and those that the house writes itself."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

import orjson

from proxy.turn import Delta

# Names under which servers send text that no rail has judged, the prompt, or the tokens of either: only empty values
# pass.
_UNJUDGED = frozenset({
    "reasoning", "reasoning_content", "reasoning_details", "thinking", "thinking_blocks", "thought", "analysis",
    "tool_calls", "function_call", "refusal", "audio", "images", "annotations", "citations", "text", "message",
    "content", "delta", "logprobs", "token_ids", "prompt_logprobs", "prompt_token_ids", "prompt_text",
})  # fmt: skip
_METADATA = frozenset({"id", "object", "model", "system_fingerprint", "service_tier", "stop_reason"})
_FOLLOWS_TEXT = frozenset({"logprobs", "token_ids"})  # true of the text as it came; dropped once it changes
_TOKEN = frozenset({"token", "logprob", "bytes", "top_logprobs"})
_NAME = re.compile(r"[\w.:/+@=,-]{0,64}", re.ASCII)  # a name, number or key of some server's metadata: no sentence
_REASON = re.compile(r"[A-Za-z_]{0,32}")

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
    kept = _metadata(event)
    if "usage" in event and (event["usage"] is None or running_usage or not event.get("choices")):
        kept["usage"] = told_usage(event)
    if "choices" in event:
        kept["choices"] = _choices(event["choices"])
    if kept == event:
        return delta
    return _without_usage(delta, kept) or rewritten(kept)


def _without_usage(delta: Delta, kept: dict[str, Any]) -> Delta | None:
    """The event's own bytes less the usage at their end, if only that goes: we asked for it, the client did not."""
    rest = {key: value for key, value in delta.event.items() if key != "usage"}
    tail = b',"usage":' + orjson.dumps(delta.event.get("usage")) + b"}"
    if kept != rest or not delta.raw.endswith(tail):
        return None
    return Delta(delta.raw[: -len(tail)] + b"}", kept)


def told_usage(event: Mapping[str, Any]) -> Usage | None:
    """The usage that the event tells: an object of numbers, perhaps nested; None for anything else."""
    usage = event.get("usage")
    return usage if isinstance(usage, dict) and _countable(usage) else None


def _countable(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_NAME.fullmatch(key) and _countable(one) for key, one in value.items())
    return value is None or isinstance(value, int | float)


def _choices(choices: Any) -> list[dict[str, Any]]:
    """The first choice, cleaned: no other is judged."""
    listed = choices if isinstance(choices, list) else []
    return [_clean(one) for one in listed if isinstance(one, dict) and one.get("index", 0) == 0][:1]


def _clean(choice: dict[str, Any]) -> dict[str, Any]:
    delta = choice.get("delta")
    judged = {key: value for key, value in delta.items() if _in_delta(key, value)} if isinstance(delta, dict) else {}
    text = judged.get("content") or "" if judged == delta else ""  # of a delta that lost a part no token is told
    kept = {key: value for key, value in choice.items() if key != "delta" and _in_choice(key, value, text)}
    kept["delta"] = judged
    return choice if kept == choice else kept


def _in_delta(key: str, value: Any) -> bool:
    """`content` is judged as text only (some servers send reasoning as a list there)."""
    if key == "content":
        return value is None or isinstance(value, str)
    if key == "role":
        return value in (None, "assistant")
    return _passes(key, value, names=False)


def _in_choice(key: str, value: Any, text: str) -> bool:
    if key == "logprobs":
        return not value or (bool(text) and _tells_only(value, text))
    if key == "token_ids":
        return not value or bool(text)
    if key == "finish_reason":
        return value is None or (isinstance(value, str) and _REASON.fullmatch(value) is not None)
    return _tells(key, value)


def _tells_only(logprobs: Any, text: str) -> bool:
    """Whether the tokens are those of the event's text.

    A server that waits for a stop string holds text back and tells its tokens at once; alternatives are no rail's to
    judge.
    """
    if not isinstance(logprobs, dict) or any(value for key, value in logprobs.items() if key != "content"):
        return False
    tokens = logprobs.get("content") or []
    known = all(isinstance(one, dict) and _TOKEN.issuperset(one) and not one.get("top_logprobs") for one in tokens)
    return known and "".join(str(one.get("token", "")) for one in tokens) in ("", text)


def _metadata(event: Mapping[str, Any]) -> dict[str, Any]:
    """What stands beside `choices` and `usage` and may pass."""
    return {key: value for key, value in event.items() if key not in ("choices", "usage") and _tells(key, value)}


def _tells(key: str, value: Any) -> bool:
    """Whether a field beside the text may pass: what is unknown does (law 3), unless it could be free text (law 1)."""
    return (key in _METADATA and isinstance(value, str)) or _passes(key, value, names=True)


def _passes(key: str, value: Any, names: bool) -> bool:
    """Whether an unknown field holds no text; `names`: short strings without white space are none."""
    return _NAME.fullmatch(key) is not None and (not value or (key not in _UNJUDGED and _textless(value, names)))


def _textless(value: Any, names: bool) -> bool:
    if isinstance(value, str):
        return not value or (names and _NAME.fullmatch(value) is not None)
    if isinstance(value, dict):
        return all(_passes(key, one, names) for key, one in value.items())
    if isinstance(value, list):
        return all(_textless(one, names=False) for one in value)  # a list of words may be a sentence
    return True


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
            told = _metadata(event)
            self._head |= {key: told[key] for key in ("id", "created", "model") if told.get(key)}

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

    def closing(self, event: Mapping[str, Any]) -> None:
        """Takes over what the backend tells with its usage, such as `system_fingerprint`, for our last events."""
        told = _metadata(event)
        self._head |= {key: told[key] for key in told if key != "object" and key not in self._head}

    def _event(self, choices: list[dict[str, Any]]) -> Delta:
        return rewritten({**self._head, "choices": choices})
