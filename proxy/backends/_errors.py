"""What a model server's error answer means, whichever of its shapes it comes in; pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from proxy.turn import BackendFault

_LONGEST = 1000  # characters of a message that are passed on
# What an error repeats may be what a child said, or what the model said unheard: vLLM's validation has the input; TGI's
# the strings that it did not want (written by serde) and the text in which it found no tool call.
_ECHO = (
    (re.compile(r", 'input': .*"), "}"),
    (re.compile(r'(?<=: string )".*"', re.DOTALL), "(...)"),
    (re.compile(r"(?<=Failed to parse generated text).*", re.DOTALL), ""),
)
_STATUS = {  # of TGI's `error_type`, in a stream, whose own status is 200
    "validation": 422,
    "template_error": 422,
    "tool_error": 422,
    "generation": 424,
    "overloaded": 429,
    "incomplete_generation": 500,
}


def refuse(status: int, body: bytes, headers: Mapping[str, str]) -> None:
    """Raises `BackendFault` for the status of an error. A refused key is ours, not the client's: 502."""
    if status in (401, 403):
        message = f"The model server refused Kindrail's key ({status}). Check KINDRAIL_BACKEND_API_KEY or `backends`."
        raise BackendFault(502, message, code="backend_unauthorized")
    if status >= 400:
        raise _fault(status, parse(body) or body.decode("utf-8", "replace"), headers.get("retry-after"))


def event_of(payload: bytes) -> dict[str, Any]:
    """The event of a stream, `choices` (where given) being a list of objects. Raises `BackendFault` for errors too."""
    event = parse(payload)
    if not isinstance(event, dict):
        raise unreadable("an event of the stream is not a JSON object")
    if event.get("error") or event.get("object") == "error":
        raise _fault(_status(event), event)
    choices = event.get("choices") or []
    if not (isinstance(choices, list) and all(isinstance(choice, dict) for choice in choices)):
        raise unreadable("the choices of an event are not a list of objects")
    return event


def parse(data: bytes) -> Any:
    """The value, or None where it is no JSON: orjson's own error would carry the text."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


def unreadable(what: str) -> BackendFault:
    """The fault for an answer that makes no sense. `what` is a part of a sentence and quotes nothing."""
    return BackendFault(502, f"The model server's answer cannot be read: {what}.", code="backend_bad_answer")


def _status(event: dict[str, Any]) -> int:
    """The HTTP status that an error inside a stream names: vLLM as `code`, TGI as `http_status_code`; else 502."""
    error = event["error"] if isinstance(event.get("error"), dict) else event
    named = error.get("code") or error.get("http_status_code") or _STATUS.get(str(error.get("error_type")))
    return named if isinstance(named, int) and 400 <= named <= 599 else 502


def _fault(status: int, answer: Any, retry_after: str | None = None) -> BackendFault:
    """The fault for an error answer. `retry_after`: seconds or a date, passed on as it came.

    vLLM: `{"error": {"message", "type", "param", "code": 400}}`, `{"error": "..."}`, FastAPI's `{"detail": ...}`, and
    formerly `{"object": "error", "message", ...}`. TGI: `{"error": "...", "error_type": "..."}`. Text, HTML or nothing.
    """
    outer = answer if isinstance(answer, dict) else {"detail": answer}
    inner = outer.get("error") or outer
    error = inner if isinstance(inner, dict) else {"message": inner}
    bare = f"The model server answered {status}. {_words(error.get('detail'))}".strip()
    return BackendFault(
        status,
        _words(error.get("message")) or bare,
        _name(error.get("type")) or _name(outer.get("error_type")) or "upstream_error",
        code=_name(error.get("code")),
        param=_name(error.get("param")),
        headers={"retry-after": retry_after} if retry_after else {},
    )


def _words(value: Any) -> str:
    """A message as a person may read it, without repeated input; empty for HTML and what is no message."""
    if isinstance(value, list):  # FastAPI's: one object for each field
        value = "; ".join(f"{item.get('loc')}: {item.get('msg')}" for item in value if isinstance(item, dict))
    if not isinstance(value, str) or value.lstrip().startswith("<"):
        return ""
    words = value
    for echo, instead in _ECHO:
        words = echo.sub(instead, words)
    return words.strip()[:_LONGEST]


def _name(value: Any) -> str | None:
    """OpenAI's `code` and `param` are text or null; vLLM's `code` is the status over again."""
    return value if isinstance(value, str) and value else None
