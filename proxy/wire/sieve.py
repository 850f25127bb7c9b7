"""What of a backend's events may pass beside the text that is judged: no other text, no prompt, no tokens of either."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import orjson

from proxy.turn import Delta
from proxy.wire.events import KEY, choice, rewritten, told_once
from proxy.wire.usage import told_usage

# Names under which servers send text that no rail has judged, the prompt, or the tokens of either: only empty values
# pass.
_UNJUDGED = frozenset({
    "reasoning", "reasoning_content", "reasoning_details", "thinking", "thinking_blocks", "thought", "analysis",
    "tool_calls", "function_call", "refusal", "audio", "images", "annotations", "citations", "text", "message",
    "content", "delta", "logprobs", "token_ids", "prompt_logprobs", "prompt_token_ids", "prompt_text",
})  # fmt: skip
_WORD = re.compile(r"[\w.:/-]{0,128}", re.ASCII)
# The only text that passes beside the answer's, and how it may read.
_METADATA = {
    "id": _WORD, "object": _WORD, "system_fingerprint": _WORD, "service_tier": _WORD,
    "model": re.compile(r"[\w.:/@+-]{0,200}", re.ASCII),
}  # fmt: skip
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
# Why an answer ended: OpenAI's reasons, then vLLM's own (vllm/v1/engine). Any other is told as `stop`.
_REASONS = (
    "stop", "length", "tool_calls", "content_filter", "function_call", "abort", "error", "repetition",
)  # fmt: skip


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
        own = told_once(delta)  # its bytes may leave
        if kept == event:
            return delta if own else rewritten(kept)
        return (_without_usage(delta, kept) if own else None) or rewritten(kept)

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
        if choice.get("finish_reason") and choice["finish_reason"] not in _REASONS:
            kept["finish_reason"] = "stop"
        return choice if kept == choice else kept

    def _in_delta(self, key: str, value: Any) -> bool:
        """`content` is judged as text only."""
        if key == "content":
            return value is None or isinstance(value, str)
        if key == "role":
            return value in (None, "assistant")
        return key in self._open or textless(key, value)

    def _in_choice(self, key: str, value: Any, text: str) -> bool:
        if not value or key in self._open:
            return KEY.fullmatch(key) is not None
        if key == "logprobs":
            return bool(text) and _tells_only(value, text)
        if key == "token_ids":
            return bool(text)
        if key == "finish_reason":
            return value in _REASONS
        if key == "stop_reason" and isinstance(value, str):
            return value in self._stops
        return textless(key, value)

    def _tells(self, key: str, value: Any) -> bool:
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
    return (
        isinstance(tokens, list)
        and all(map(_is_token, tokens))
        and "".join(one.get("token", "") for one in tokens) in ("", text)
    )


def _is_token(one: Any) -> bool:
    """Whether it tells a token, its probability and its own bytes, and no more."""
    if not isinstance(one, dict) or not _TOKEN.issuperset(one) or one.get("top_logprobs"):
        return False
    token, number, spelt = one.get("token", ""), one.get("logprob"), one.get("bytes")
    if not isinstance(token, str) or not (number is None or isinstance(number, int | float)):
        return False
    return spelt is None or spelt == list(token.encode())


def metadata(event: Mapping[str, Any]) -> dict[str, Any]:
    """What the house takes over for its own events from the backend's."""
    return {key: value for key, value in event.items() if key not in ("choices", "usage") and _tells(key, value)}


def _tells(key: str, value: Any) -> bool:
    known = _METADATA.get(key)
    return known.fullmatch(value) is not None if known and isinstance(value, str) else textless(key, value)


def textless(key: str, value: Any) -> bool:
    """Whether a field that the house does not know can hold no text: it is empty, or of numbers and flags.

    What is unknown passes (law 3) unless it could tell what no rail has judged (law 1).
    """
    return KEY.fullmatch(key) is not None and (not value or (key not in _UNJUDGED and _is_textless(value)))


def _is_textless(value: Any) -> bool:
    if isinstance(value, dict):
        return all(textless(key, one) for key, one in value.items())
    if isinstance(value, list):
        return all(map(_is_textless, value))
    return not isinstance(value, str) or not value
