"""The request as the model gets it: the policy's system text, masked messages, bounded settings.

A prompt only grows at its end over a conversation, so that the model server's prefix cache keeps working: system text
and earlier turns come out byte for byte the same, and notes to the model stand in the last user message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from proxy.policy.schema import Generation, Range
from proxy.wire.request import ChatRequest, Message

_OURS = frozenset({"system", "developer"})
_OF_TOOLS = ("tool_call_id", "name")  # what ties a tool's message to its call


def upstream_body(
    request: ChatRequest,
    settings: Generation,
    texts: Mapping[int, str],
    notes: Sequence[str],
    knows: frozenset[str],
) -> dict[str, Any]:
    """The body for the backend.

    texts: by place in `messages`, the text that the model may read, where it differs from what was sent. notes: for
    the model, on this turn alone. knows: the fields beyond OpenAI's that the backend understands. The client's own
    object is left as it is.
    """
    parsed = zip(request.body["messages"], request.messages, strict=True)
    messages = [_rebuilt(sent, message, texts.get(message.index, message.text)) for sent, message in parsed]
    messages = _with_system(messages, settings)
    if any(fnmatchcase(request.model.lower(), pattern.lower()) for pattern in settings.fold_system):
        messages = _folded(messages)
    return {
        **request.body,
        **_bounded(request.body, settings, knows),
        "messages": _with_notes(messages, notes),
        "stream": True,
        "stream_options": _options(request.body, knows),
    }


def _rebuilt(sent: dict[str, Any], message: Message, text: str) -> dict[str, Any]:
    """The message with what the rails have judged of it, and no other field; the app's instructions keep their form."""
    content = sent["content"] if message.role is None else text
    fields = _OF_TOOLS if message.role == "tool" else ()
    return {"role": sent["role"], "content": content} | {name: sent[name] for name in fields if name in sent}


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
    rest[first] = {**rest[first], "content": "\n\n".join([*system, _plain(rest[first])])}
    return rest


def _with_notes(messages: list[dict[str, Any]], notes: Sequence[str]) -> list[dict[str, Any]]:
    last = next((index for index in reversed(range(len(messages))) if messages[index]["role"] == "user"), None)
    if not notes or last is None:
        return messages
    noted = {**messages[last], "content": "\n\n".join([_plain(messages[last]), *(f"({note})" for note in notes)])}
    return [*messages[:last], noted, *messages[last + 1 :]]


def _plain(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "\n".join(str(part.get("text", "")) for part in content)


def _bounded(body: dict[str, Any], settings: Generation, knows: frozenset[str]) -> dict[str, Any]:
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


def _options(body: dict[str, Any], knows: frozenset[str]) -> dict[str, Any]:
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
