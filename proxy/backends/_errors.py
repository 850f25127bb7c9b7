"""What a model server's error answer means, whichever of its shapes it comes in; pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson

from proxy.turn import BackendFault

_LONGEST = 1000  # characters of a message that are passed on
_DEEPEST = 100  # objects and lists within each other in an event: more no server sends, and not everything can write
_QUOTABLE = frozenset({400, 404, 413, 422, 429})  # statuses that tell of the request, before anything is generated
_NAME = re.compile(r"[\w.:/-]{1,64}", re.ASCII)
# What an error repeats may be what a child said, or what the model said unheard: vLLM's validation has the input; TGI's
# the strings that it did not want (written by serde) and the text in which it found no tool call.
_ECHO = (
    (re.compile(r", 'input': .*"), "}"),
    (re.compile(r'(?<=: string )".*"', re.DOTALL), "(...)"),
    (re.compile(r"(?<=Failed to parse generated text).*", re.DOTALL), ""),
)
_PHRASES = tuple(status.phrase for status in HTTPStatus)
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
        message = f"The model server refused Kindrail's key ({status}). Only Kindrail's operator can mend that."
        raise BackendFault(502, message, code="backend_unauthorized")
    if status >= 400:
        answer = parse(body) or body.decode("utf-8", "replace")
        raise _fault(status, answer, status in _QUOTABLE, headers.get("retry-after"))


def event_of(payload: bytes, begun: bool = True) -> dict[str, Any]:
    """The event of a stream, `choices` (where given) being a list of objects. Raises `BackendFault` for errors too.

    begun: others stand before it; an error may then have to do with what was generated.
    """
    event = parse(payload)
    if not isinstance(event, dict):
        raise unreadable("an event of the stream is not a JSON object")
    if event.get("error") or event.get("object") == "error":
        status = _status(event)
        raise _fault(status, event, not begun and status in _QUOTABLE)
    if payload.count(b"{") + payload.count(b"[") > _DEEPEST and _deeper(event, _DEEPEST):
        raise unreadable("an event of the stream is too deeply nested")
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


def _deeper(value: Any, levels: int) -> bool:
    """Whether objects and lists stand within each other more than so many levels deep."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return inner is not None and (levels == 0 or any(_deeper(one, levels - 1) for one in inner))


def _status(event: dict[str, Any]) -> int:
    """The HTTP status that an error inside a stream names: vLLM as `code`, TGI as `http_status_code`; else 502."""
    error = event["error"] if isinstance(event.get("error"), dict) else event
    named = error.get("code") or error.get("http_status_code") or _STATUS.get(str(error.get("error_type")))
    return named if isinstance(named, int) and 400 <= named <= 599 else 502


def _fault(status: int, answer: Any, quotable: bool, retry_after: str | None = None) -> BackendFault:
    """The fault for an error answer. `retry_after`: seconds or a date, passed on as it came.

    quotable: it tells of the request, and its words are passed on; any other's may have what the model said.

    vLLM: `{"error": {"message", "type", "param", "code": 400}}`, `{"error": "..."}`, FastAPI's `{"detail": ...}`, and
    formerly `{"object": "error", "message", ...}`. TGI: `{"error": "...", "error_type": "..."}`. Text, HTML or nothing.
    """
    outer = answer if isinstance(answer, dict) else {"detail": answer}
    inner = outer.get("error") or outer
    error = inner if isinstance(inner, dict) else {"message": inner}
    message = f"The model server failed ({status})."
    if quotable:
        bare = f"The model server answered {status}. {_words(error.get('detail'))}".strip()
        message = _words(error.get("message")) or bare
    return BackendFault(
        status,
        message,
        _kind(error.get("type")) or _name(outer.get("error_type")) or "upstream_error",
        code=_name(error.get("code")),
        param=_name(error.get("param")) if quotable else None,
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


def _kind(value: Any) -> str | None:
    """A name, or vLLM's for a request it did not understand: the phrase of a status."""
    return value if value in _PHRASES else _name(value)


def _name(value: Any) -> str | None:
    """OpenAI's `code` and `param` are names or null; vLLM's `code` is the status over again."""
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None
