"""The request as the model gets it: the policy's system text, masked messages, bounded settings.

A prompt only grows at its end over a conversation, so that the model server's prefix cache keeps working: system text
and earlier turns come out byte for byte the same, notes to the model stand in the last user message, and where the
conversation grows too long its oldest turns go in blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from proxy.policy.schema import Generation, Range
from proxy.text import is_json
from proxy.wire.history import bounded
from proxy.wire.messages import Message, is_text, text_of
from proxy.wire.request import ChatRequest
from proxy.wire.sieve import textless

_OURS = frozenset({"system", "developer"})
_OF_TOOLS = ("tool_call_id", "name")  # what ties a tool's message to its call

# What the model may read: of the message at a place, or of the nth tool call in it.
Readable = Mapping[int | tuple[int, int], str]


def upstream_body(
    request: ChatRequest,
    settings: Generation,
    texts: Readable,
    notes: Sequence[str],
    knows: frozenset[str],
) -> dict[str, Any]:
    """The body for the backend.

    texts: by place in `messages`, the text that the model may read, where it differs from what was sent. notes: for
    the model, on this turn alone. knows: the fields beyond OpenAI's that the backend understands. The client's own
    object is left as it is.
    """
    parsed = zip(request.body["messages"], request.messages, strict=True)
    messages = [_rebuilt(sent, message, texts) for sent, message in parsed]
    messages = _with_system(bounded(messages, settings.history), settings)
    if any(fnmatchcase(request.model.lower(), pattern.lower()) for pattern in settings.fold_system):
        messages = _folded(messages)
    return {**settled(request.body, settings, knows), "messages": _with_notes(messages, notes)}


def settled(body: Mapping[str, Any], settings: Generation, knows: frozenset[str]) -> dict[str, Any]:
    """The body with what policy and house decide: bounded settings, always a stream, stored by nobody."""
    stored = {"store": False} if "store" in body else {}
    options = {"stream": True, "stream_options": _options(body, knows)}
    return {**body, **stored, **_bounded(body, settings, knows), **options}


def storable(sent: Mapping[str, Any], masked: Sequence[str]) -> dict[str, Any]:
    """A message as it may be stored: its masked text and the masked arguments of its calls; what is no text is gone."""
    kept: dict[str, Any] = {"role": sent["role"], "content": masked[0]}
    if sent["role"] == "tool":
        kept["tool_call_id"] = str(sent.get("tool_call_id") or "")
    calls = [
        {
            "id": str(call.get("id") or ""),
            "type": "function",
            "function": {"name": call["function"]["name"], "arguments": text if is_json(text) else "{}"},
        }
        for call, text in zip(sent.get("tool_calls") or (), masked[1:], strict=False)
    ]
    return {**kept, "tool_calls": calls} if calls else kept


def _rebuilt(sent: dict[str, Any], message: Message, texts: Readable) -> dict[str, Any]:
    """The message with what the rails have judged of it; of its other fields those that can hold no text.

    The app's instructions keep their form.
    """
    if message.role is None:
        return {"role": sent["role"], "content": sent["content"]}
    kept = {key: value for key, value in sent.items() if key not in ("role", "content") and textless(key, value)}
    kept |= {key: sent[key] for key in _OF_TOOLS if key in sent and message.role == "tool"}
    calls = _calls(sent, message, texts)
    content = _content(sent.get("content"), texts.get(message.index, message.text))
    return {"role": sent["role"], "content": content, **kept, **({"tool_calls": calls} if calls else {})}


def _content(sent: Any, text: str) -> Any:
    """The judged text, beside the parts that are none."""
    others = [part for part in sent if not is_text(part)] if isinstance(sent, list) else []
    if not others:
        return text
    return [*([{"type": "text", "text": text}] if text else []), *others]


def _calls(sent: dict[str, Any], message: Message, texts: Readable) -> list[dict[str, Any]]:
    return [
        {
            "id": str(call.get("id") or ""),
            "type": "function",
            "function": {
                "name": call["function"]["name"],
                "arguments": texts.get((message.index, number), message.calls[number]),
            },
        }
        for number, call in enumerate(sent.get("tool_calls") or ())
    ]


def _with_system(messages: list[dict[str, Any]], settings: Generation) -> list[dict[str, Any]]:
    """The policy's system text before the app's, or in its place."""
    text = settings.system.text.strip()
    if not text:
        return messages
    if settings.system.how == "replace":
        return [{"role": "system", "content": text}, *(m for m in messages if m["role"] not in _OURS)]
    first = next((index for index, message in enumerate(messages) if message["role"] in _OURS), None)
    if first is None:
        return [{"role": "system", "content": text}, *messages]
    joined = {**messages[first], "content": f"{text}\n\n{_plain(messages[first])}"}
    return [joined, *messages[:first], *messages[first + 1 :]]


def _folded(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For models without a system role (Gemma 2's template refuses one): it opens the first user message."""
    system = [_plain(message) for message in messages if message["role"] in _OURS]
    rest = [message for message in messages if message["role"] not in _OURS]
    first = next((index for index, message in enumerate(rest) if message["role"] == "user"), None)
    if not system:
        return messages
    if first is None:
        return [{"role": "user", "content": "\n\n".join(system)}, *rest]
    rest[first] = _framed(rest[first], before=system)
    return rest


def _with_notes(messages: list[dict[str, Any]], notes: Sequence[str]) -> list[dict[str, Any]]:
    last = next((index for index in reversed(range(len(messages))) if messages[index]["role"] == "user"), None)
    if not notes or last is None:
        return messages
    noted = _framed(messages[last], after=[f"({note})" for note in notes])
    return [*messages[:last], noted, *messages[last + 1 :]]


def _framed(message: dict[str, Any], before: Sequence[str] = (), after: Sequence[str] = ()) -> dict[str, Any]:
    """The message with paragraphs around its text; its parts that are no text stay."""
    text = "\n\n".join([*before, _plain(message), *after])
    return {**message, "content": _content(message["content"], text)}


def _plain(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "\n".join(text_of(part) for part in content if is_text(part))


def _bounded(body: Mapping[str, Any], settings: Generation, knows: frozenset[str]) -> dict[str, Any]:
    """The settings that the policy changes."""
    changed: dict[str, Any] = {}
    for name, bounds in (("temperature", settings.temperature), ("top_p", settings.top_p)):
        value = _within(body.get(name), bounds)
        if value is not None:
            changed[name] = value
    if settings.max_tokens is not None:
        asked = [name for name in ("max_tokens", "max_completion_tokens") if body.get(name) is not None]
        changed |= {name: min(body[name], settings.max_tokens) for name in asked} or {"max_tokens": settings.max_tokens}
    if settings.repetition_penalty is not None and "repetition_penalty" in knows:
        changed["repetition_penalty"] = settings.repetition_penalty
    return changed


def _options(body: Mapping[str, Any], knows: frozenset[str]) -> dict[str, Any]:
    """Usage is always asked for; with every event where the backend can, so that it is honest also if we cancel."""
    running = {"continuous_usage_stats": True} if "continuous_usage_stats" in knows else {}
    return {**(body.get("stream_options") or {}), "include_usage": True, **running}


def _within(value: float | None, bounds: Range) -> float | None:
    value = bounds.default if value is None else value
    if value is None:
        return bounds.max  # the server's own default may lie above it
    if bounds.min is not None:
        value = max(value, bounds.min)
    return value if bounds.max is None else min(value, bounds.max)
