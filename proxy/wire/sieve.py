"""What of a backend's events may pass beside the text that is judged: no other text, no prompt, no tokens of either."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import orjson

from proxy.turn import Delta
from proxy.wire.events import NAME, choice, rewritten
from proxy.wire.usage import told_usage

# Names under which servers send text that no rail has judged, the prompt, or the tokens of either: only empty values
# pass.
_UNJUDGED = frozenset({
    "reasoning", "reasoning_content", "reasoning_details", "thinking", "thinking_blocks", "thought", "analysis",
    "tool_calls", "function_call", "refusal", "audio", "images", "annotations", "citations", "text", "message",
    "content", "delta", "logprobs", "token_ids", "prompt_logprobs", "prompt_token_ids", "prompt_text",
})  # fmt: skip
_METADATA = frozenset({"id", "object", "model", "system_fingerprint", "service_tier"})
_TOKEN = frozenset({"token", "logprob", "bytes", "top_logprobs"})
# Fields of a request that a key may open, and what they let through of the answer.
_OPENED_BY = {
    "prompt_logprobs": frozenset({"prompt_logprobs"}),
    "return_token_ids": frozenset({"token_ids", "prompt_token_ids"}),
    "echo": frozenset({"prompt_text"}),
    "audio": frozenset({"audio"}),
    "web_search_options": frozenset({"annotations", "citations"}),
    "top_logprobs": frozenset({"logprobs"}),
}
_REASON = re.compile(r"[A-Za-z_]{0,32}")


class Sieve:
    """Lets the events of one answer pass without what may not: unjudged text, the prompt, usage that was not asked for.

    opened: the request's fields that policy and key allow beyond the plain ones. stops: its stop strings, of which a
    server may tell the one that it met.
    """

    def __init__(self, running_usage: bool = False, opened: Collection[str] = (), stops: Collection[str] = ()) -> None:
        self._running_usage = running_usage
        self._stops = frozenset(stops)
        self._open = frozenset().union(*(_OPENED_BY.get(name, ()) for name in opened))

    def admitted(self, delta: Delta) -> Delta:
        """The event, of one choice or none; the same object if nothing goes."""
        event = delta.event
        kept = self._beside(event)
        if "usage" in event and (event["usage"] is None or self._running_usage or not event.get("choices")):
            kept["usage"] = told_usage(event)
        if "choices" in event:
            one = choice(event)
            kept["choices"] = [self._clean(one)] if one is not None else []
        if kept == event:
            return delta
        return _without_usage(delta, kept) or rewritten(kept)

    def _beside(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """What stands beside `choices` and `usage` and may pass."""
        ours = ("choices", "usage")
        return {key: value for key, value in event.items() if key not in ours and self._tells(key, value)}

    def _clean(self, choice: dict[str, Any]) -> dict[str, Any]:
        delta = choice.get("delta")
        known = delta if isinstance(delta, dict) else {}
        judged = {key: value for key, value in known.items() if self._in_delta(key, value)}
        text = judged.get("content") or "" if judged == delta else ""  # of a delta that lost a part no token is told
        kept = {key: value for key, value in choice.items() if key != "delta" and self._in_choice(key, value, text)}
        kept["delta"] = judged
        return choice if kept == choice else kept

    def _in_delta(self, key: str, value: Any) -> bool:
        """`content` is judged as text only (some servers send reasoning as a list there)."""
        if key == "content":
            return value is None or isinstance(value, str)
        if key == "role":
            return value in (None, "assistant")
        return key in self._open or _passes(key, value, names=False)

    def _in_choice(self, key: str, value: Any, text: str) -> bool:
        if not value or key in self._open:
            return NAME.fullmatch(key) is not None
        if key == "logprobs":
            return bool(text) and _tells_only(value, text)
        if key == "token_ids":
            return bool(text)
        if key == "finish_reason":
            return isinstance(value, str) and _REASON.fullmatch(value) is not None
        if key == "stop_reason" and isinstance(value, str):
            return value in self._stops
        return self._tells(key, value)

    def _tells(self, key: str, value: Any) -> bool:
        """Whether a field may pass: what is unknown does (law 3), unless it could be free text (law 1)."""
        return key in self._open or _tells(key, value)


def _without_usage(delta: Delta, kept: dict[str, Any]) -> Delta | None:
    """The event's own bytes less the usage at their end, if only that goes: we asked for it, the client did not."""
    rest = {key: value for key, value in delta.event.items() if key != "usage"}
    tail = b',"usage":' + orjson.dumps(delta.event.get("usage")) + b"}"
    if kept != rest or not delta.raw.endswith(tail):
        return None
    return Delta(delta.raw[: -len(tail)] + b"}", kept)


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


def metadata(event: Mapping[str, Any]) -> dict[str, Any]:
    """What the house takes over for its own events from the backend's."""
    return {key: value for key, value in event.items() if key not in ("choices", "usage") and _tells(key, value)}


def _tells(key: str, value: Any) -> bool:
    return (key in _METADATA and isinstance(value, str)) or _passes(key, value, names=True)


def textless(key: str, value: Any) -> bool:
    """Whether a field that the house does not know can hold no text: it is of numbers and flags."""
    return _passes(key, value, names=False)


def _passes(key: str, value: Any, names: bool) -> bool:
    """Whether an unknown field holds no text; `names`: short strings without white space are none."""
    return NAME.fullmatch(key) is not None and (not value or (key not in _UNJUDGED and _textless(value, names)))


def _textless(value: Any, names: bool) -> bool:
    if isinstance(value, str):
        return not value or (names and NAME.fullmatch(value) is not None)
    if isinstance(value, dict):
        return all(_passes(key, one, names) for key, one in value.items())
    if isinstance(value, list):
        return all(_textless(one, names=False) for one in value)  # a list of words may be a sentence
    return True
