"""The items of a `/v1/responses` request as chat messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from proxy.wire.messages import BadRequest

Body = dict[str, Any]

_TEXTS = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}  # part -> its text's field
_DETAILS = ("low", "high", "auto")


def as_messages(said: str | list[Any], before: Sequence[Body], items: Mapping[str, Body]) -> list[Body]:
    """The chat messages that `input` comes to. Raises `BadRequest`.

    Tool calls join the assistant's message before them: one answer is one chat message. Calls with which the previous
    response ended are not said twice (the Vercel AI SDK sends them again), and reasoning is left out.
    """
    if isinstance(said, str):
        return [{"role": "user", "content": said}]
    known = _called(before[-1]) if before else frozenset()
    messages: list[Body] = []
    for number, item in enumerate(said):
        message = _message(item, f"input[{number}]", items)
        if message is None or (_called(message) and _called(message) <= known):
            continue
        last = messages[-1] if messages else {}
        if message.get("tool_calls") and last.get("role") == "assistant":
            messages[-1] = {**last, "tool_calls": [*last.get("tool_calls", ()), *message["tool_calls"]]}
        else:
            messages.append(message)
    return messages


def reference(item: object) -> str | None:
    """The id by which the item stands for an earlier one; None for any other item, and for reasoning."""
    if not isinstance(item, dict) or _kind(item) != "item_reference":
        return None
    name = item.get("id")
    return name if isinstance(name, str) and not name.startswith("rs_") else None


def _called(message: Body) -> frozenset[str]:
    return frozenset(str(call.get("id")) for call in message.get("tool_calls") or ())


def _kind(item: Body) -> str:
    """The item's type, which messages and references may leave out."""
    return str(item.get("type") or ("message" if "role" in item else "item_reference"))


def _message(item: object, place: str, items: Mapping[str, Body]) -> Body | None:
    if not isinstance(item, dict):
        raise BadRequest(f"`{place}` must be an object.", place, "invalid_type")
    kind = _kind(item)
    if kind == "reasoning":
        return None
    if kind == "item_reference":
        _string(item, "id", place)
        name = reference(item)
        return None if name is None else items[name]
    if kind not in _ITEMS:
        words = f"`{place}` must be a message, a function call, its output, or a reference to one: no other is served."
        raise BadRequest(words, place, "unsupported_value")
    return _ITEMS[kind](item, place)


def _spoken(item: Body, place: str) -> Body:
    return {"role": _string(item, "role", place), "content": _content(item.get("content"), f"{place}.content")}


def _call(item: Body, place: str) -> Body:
    function = {"name": _string(item, "name", place), "arguments": _string(item, "arguments", place)}
    call = {"id": _string(item, "call_id", place), "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _output(item: Body, place: str) -> Body:
    content = _content(item.get("output"), f"{place}.output")
    return {"role": "tool", "tool_call_id": _string(item, "call_id", place), "content": content}


_ITEMS: Mapping[str, Callable[[Body, str], Body]] = {
    "message": _spoken,
    "function_call": _call,
    "function_call_output": _output,
}


def _string(item: Body, name: str, place: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        here = f"{place}.{name}"
        raise BadRequest(f"`{here}` must be a string.", here, "invalid_type")
    return value


def _content(content: object, place: str) -> str | list[Body]:
    """A string for text alone, which every model server and template takes; else the parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadRequest(f"`{place}` must be a string or a list of parts.", place, "invalid_type")
    parts = [_part(part, f"{place}[{number}]") for number, part in enumerate(content)]
    if len(parts) > 1 or any(part["type"] != "text" for part in parts):
        return parts
    return str(parts[0]["text"]) if parts else ""


def _part(part: object, place: str) -> Body:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(part, dict) or not isinstance(kind, str):
        raise BadRequest(f"`{place}` must be an object with a `type`.", place, "invalid_type")
    if kind in _TEXTS:
        return {"type": "text", "text": _string(part, _TEXTS[kind], place)}
    if kind == "input_image":
        return {"type": "image_url", "image_url": _image(part, place)}
    if kind == "input_file":
        return {"type": "file", "file": _file(part, place)}
    if kind == "input_audio" and isinstance(part.get("input_audio"), dict):
        return {"type": "input_audio", "input_audio": part["input_audio"]}
    words = f"`{place}` must be of the type input_text, output_text, refusal, input_image, input_file or input_audio."
    raise BadRequest(words, place, "unsupported_content")


def _image(part: Body, place: str) -> Body:
    if not isinstance(part.get("image_url"), str):
        words = f"`{place}` must have an `image_url`: there are no stored files."
        raise BadRequest(words, place, "unsupported_content")
    detail = {"detail": part["detail"]} if part.get("detail") in _DETAILS else {}
    return {"url": part["image_url"], **detail}


def _file(part: Body, place: str) -> Body:
    if not isinstance(part.get("file_data"), str):
        words = f"`{place}` must have `file_data`: nothing is fetched, and there are no stored files."
        raise BadRequest(words, place, "unsupported_content")
    return {name: part[name] for name in ("filename", "file_data") if isinstance(part.get(name), str)}
