"""What a response consists of: its items, its usage, and the object around them with the request's own settings.

Shapes are those of OpenAI's specification; an item is written as it stands, while it grows and when it is whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from proxy.wire.responses import ResponsesRequest

Body = dict[str, Any]
Status = Literal["in_progress", "completed", "incomplete"]
PartKind = Literal["output_text", "refusal", "reasoning_text"]

# What the object repeats of the request, and what it says where the request said nothing.
_SETTINGS: Mapping[str, Any] = {
    "background": False, "instructions": None, "max_output_tokens": None, "max_tool_calls": None, "metadata": {},
    "parallel_tool_calls": True, "previous_response_id": None, "prompt_cache_key": None, "safety_identifier": None,
    "service_tier": None, "temperature": None, "tool_choice": "auto", "top_logprobs": None, "top_p": None,
    "truncation": "disabled", "user": None,
}  # fmt: skip
_TOLD = frozenset({
    "prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details",
})  # fmt: skip


@dataclass(slots=True)
class Part:
    """A part of a message or of reasoning, as far as it has come."""

    kind: PartKind
    text: str = ""
    logprobs: list[Body] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The field that has the text."""
        return "refusal" if self.kind == "refusal" else "text"

    def object(self) -> Body:
        beside = {"annotations": [], "logprobs": self.logprobs} if self.kind == "output_text" else {}
        return {"type": self.kind, self.name: self.text, **beside}


@dataclass(slots=True)
class Said:
    """An item that consists of parts: the message, or reasoning before it."""

    id: str
    index: int
    kind: Literal["message", "reasoning"]
    status: Status = "in_progress"
    parts: list[Part] = field(default_factory=list)

    def object(self) -> Body:
        beside: Body = {"role": "assistant"} if self.kind == "message" else {"summary": []}
        content = [part.object() for part in self.parts]
        return {"id": self.id, "type": self.kind, "status": self.status, **beside, "content": content}


@dataclass(slots=True)
class Called:
    """An item that is a tool call."""

    id: str
    index: int
    call_id: str
    name: str
    status: Status = "in_progress"
    arguments: str = ""

    def object(self) -> Body:
        told = {"call_id": self.call_id, "name": self.name, "arguments": self.arguments}
        return {"id": self.id, "type": "function_call", "status": self.status, **told}


def tokens(logprobs: object) -> list[Body]:
    """A chat choice's `logprobs` as those of a response: the lists that may be null there are always lists here."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    return [
        {**_token(one), "top_logprobs": [_token(top) for top in one.get("top_logprobs") or ()]} for one in content or ()
    ]


def _token(one: Mapping[str, Any]) -> Body:
    text = str(one.get("token", ""))
    known = one.get("bytes")
    spelt = list(text.encode()) if known is None else known
    return {"token": text, "logprob": one.get("logprob", 0.0), "bytes": spelt}


def as_usage(usage: Mapping[str, Any] | None) -> Body | None:
    """A chat answer's usage under the names of a response; what else it tells (that it is estimated) passes along."""
    if usage is None:
        return None
    asked, answered = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    return {
        "input_tokens": asked,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0} | _counts(usage, "prompt_tokens_details"),
        "output_tokens": answered,
        "output_tokens_details": {"reasoning_tokens": 0} | _counts(usage, "completion_tokens_details"),
        "total_tokens": usage.get("total_tokens") or asked + answered,
        **{name: value for name, value in usage.items() if name not in _TOLD},
    }


def _counts(usage: Mapping[str, Any], name: str) -> Body:
    return {key: count for key, count in (usage.get(name) or {}).items() if count is not None}


def frame(request: ResponsesRequest, turn: str, created: int) -> Body:
    """What the response object says from its beginning: whose it is, and the request's settings."""
    body = request.body
    settings = {name: default if body.get(name) is None else body[name] for name, default in _SETTINGS.items()}
    return {
        "id": f"resp_{turn}",
        "object": "response",
        "created_at": created,
        "model": str(body.get("model") or ""),
        **settings,
        "reasoning": {"effort": None, "summary": None} | (body.get("reasoning") or {}),
        "store": request.store,
        "text": {"format": {"type": "text"}} | _given(body.get("text")),
        "tools": [{"description": None, "parameters": None, "strict": None} | tool for tool in body.get("tools") or ()],
    }


def _given(settings: Mapping[str, Any] | None) -> Body:
    return {name: value for name, value in (settings or {}).items() if value is not None}


def items_kept(turn: str, message: Mapping[str, Any]) -> dict[str, Body]:
    """What later requests may refer to of an answer: item id -> chat message.

    message: the answer as an assistant's chat message, masked by the caller. Reasoning is not kept.
    """
    said = message.get("content") or message.get("refusal")
    kept = {f"msg_{turn}": {"role": "assistant", "content": said}} if said else {}
    for number, call in enumerate(message.get("tool_calls") or ()):
        kept[f"fc_{turn}_{number}"] = {"role": "assistant", "content": None, "tool_calls": [call]}
    return kept


def failure(error: Mapping[str, Any]) -> Body:
    """What the response object says of an error: its code is one of a closed list."""
    code = "rate_limit_exceeded" if error.get("code") == "rate_limit_exceeded" else "server_error"
    return {"code": code, "message": str(error.get("message") or "")}
