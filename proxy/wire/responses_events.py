"""An answer as `/v1/responses` tells it: the checked chat events, translated to its events or to its one object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import orjson

from proxy.turn import Delta
from proxy.wire.events import choice, finish_reason
from proxy.wire.responses import ResponsesRequest
from proxy.wire.responses_output import (
    Body,
    Called,
    Part,
    PartKind,
    Said,
    Status,
    as_usage,
    failure,
    frame,
    items_kept,
    tokens,
)  # fmt: skip
from proxy.wire.sse import encode
from proxy.wire.usage import told_usage

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}  # finish reason -> why it is


class Responses:
    """How one answer is told at `/v1/responses`: one object for each request, because ids and numbers run through it.

    An answer is at most one message and any number of tool calls, all open to its end: a model server may go back to
    each. Reasoning ends where something else begins. The answer that is not streamed is the same, its events unsaid.
    """

    route: ClassVar[str] = "chat/completions"

    def __init__(self, request: ResponsesRequest, turn: str, created: int) -> None:
        """request: one that `as_chat` took. turn: the ids of the response and its items. created: unix seconds."""
        self._turn = turn
        self._frame = frame(request, turn, created)
        self._items: list[Said | Called] = []
        self._calls: dict[Any, Called] = {}  # by their index in the chat events
        self._usage: Body | None = None
        self._reason: str | None = None  # the finish reason
        self._told: list[bytes] = []  # events on their way out
        self._number = 0  # of the next event

    def arrived(self, delta: Delta) -> Delta:
        """The backend is asked for a chat answer: nothing to translate."""
        return delta

    def events(self, deltas: Sequence[Delta]) -> bytes:
        """The events that these chat events come to."""
        self._begin()
        for delta in deltas:
            self._take(delta.event)
        return self._sent()

    def done(self) -> bytes:
        """The events that end an answer that went well; there is no `[DONE]`."""
        self._begin()
        self._end()
        kind = "incomplete" if self._reason in _INCOMPLETE else "completed"
        self._tell(f"response.{kind}", response=self._response(kind))
        return self._sent()

    def broke(self, error: dict[str, Any]) -> bytes:
        """The events that end an answer that broke off.

        `error`: the content of an OpenAI error. The specification has its fields in the event itself, OpenAI's servers
        send them under `error`, and clients look for either: they stand in both places.
        """
        self._begin()
        for item in self._items:
            item.status = "incomplete" if item.status == "in_progress" else item.status
        code = None if error.get("code") is None else str(error["code"])
        message, param = str(error.get("message") or ""), error.get("param")
        self._tell("error", code=code, message=message, param=param, error={**error, "code": code})
        self._tell("response.failed", response={**self._response("failed"), "error": failure(error)})
        return self._sent()

    def whole(self, body: dict[str, Any]) -> dict[str, Any]:
        """The response object, from a `chat.completion`."""
        one = choice(body) or {}
        message = one.get("message") or {}
        calls = [{**call, "index": number} for number, call in enumerate(message.get("tool_calls") or ())]
        self._take({**body, "choices": [{**one, "delta": {**message, "tool_calls": calls}}]})
        self._end()
        return self._response("incomplete" if self._reason in _INCOMPLETE else "completed")

    def items_kept(self, message: Mapping[str, Any]) -> dict[str, Body]:
        """What later requests may refer to of this answer, by item id; `message`: the answer, masked."""
        return items_kept(self._turn, message)

    # -- the chat events come in ---------------------------------------------------------------------------------------

    def _take(self, event: Mapping[str, Any]) -> None:
        self._frame |= {name: event[name] for name in ("model", "service_tier") if event.get(name)}
        self._usage = told_usage(event) or self._usage
        one = choice(event)
        if one is None:
            return
        self._reason = finish_reason(event) or self._reason
        delta = one.get("delta") or {}
        self._say("reasoning", "reasoning_text", delta.get("reasoning") or delta.get("reasoning_content"))
        self._say("message", "output_text", delta.get("content"), tokens(one.get("logprobs")))
        self._say("message", "refusal", delta.get("refusal"))
        for call in delta.get("tool_calls") or ():
            self._call(call)

    def _say(
        self, kind: Literal["message", "reasoning"], part: PartKind, text: object, logprobs: Sequence[Body] = ()
    ) -> None:
        if not isinstance(text, str) or not text:
            return
        item = self._said(kind)
        number = next((n for n, one in enumerate(item.parts) if one.kind == part), len(item.parts))
        if number == len(item.parts):
            item.parts.append(Part(part))
            self._tell("response.content_part.added", **_at(item, number), part=item.parts[number].object())
        item.parts[number].text += text
        item.parts[number].logprobs += logprobs
        beside = {"logprobs": logprobs} if part == "output_text" else {}
        self._tell(f"response.{part}.delta", **_at(item, number), delta=text, **beside)

    def _said(self, kind: Literal["message", "reasoning"]) -> Said:
        """The open item of this kind; a new one where there is none."""
        for item in self._items:
            if isinstance(item, Said) and item.kind == kind and item.status == "in_progress":
                return item
        name = f"msg_{self._turn}" if kind == "message" else f"rs_{self._turn}_{len(self._items)}"
        said = Said(name, len(self._items), kind)
        self._add(said)
        return said

    def _call(self, call: Mapping[str, Any]) -> None:
        function = call.get("function") or {}
        index = call.get("index", 0)
        if index not in self._calls:
            name = f"{self._turn}_{len(self._calls)}"
            call_id = str(call.get("id") or f"call_{name}")
            called = Called(f"fc_{name}", len(self._items), call_id, str(function.get("name") or ""))
            self._calls[index] = called
            self._add(called)
        item, more = self._calls[index], function.get("arguments")
        if isinstance(more, str) and more:
            item.arguments += more
            self._tell("response.function_call_arguments.delta", **_at(item), delta=more)

    # -- the response's events go out ----------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self._number == 0:
            self._tell("response.created", response=self._response("in_progress"))
            self._tell("response.in_progress", response=self._response("in_progress"))

    def _add(self, item: Said | Called) -> None:
        self._end("reasoning")
        self._items.append(item)
        self._tell("response.output_item.added", output_index=item.index, item=item.object())

    def _end(self, only: str | None = None) -> None:
        """Ends what is open: all of it, or only the reasoning."""
        cut: Status = "incomplete" if self._reason in _INCOMPLETE else "completed"
        for item in self._items:
            if item.status == "in_progress" and (only is None or (isinstance(item, Said) and item.kind == only)):
                item.status = cut if only is None else "completed"
                self._finish(item)

    def _finish(self, item: Said | Called) -> None:
        if isinstance(item, Called):
            told = {"name": item.name, "arguments": item.arguments}
            self._tell("response.function_call_arguments.done", **_at(item), **told)
        else:
            for number, part in enumerate(item.parts):
                beside = {"logprobs": part.logprobs} if part.kind == "output_text" else {}
                self._tell(f"response.{part.kind}.done", **_at(item, number), **{part.name: part.text}, **beside)
                self._tell("response.content_part.done", **_at(item, number), part=part.object())
        self._tell("response.output_item.done", output_index=item.index, item=item.object())

    def _response(self, status: str) -> Body:
        why = _INCOMPLETE.get(self._reason or "") if status == "incomplete" else None
        return {
            **self._frame,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": why} if why else None,
            "output": [item.object() for item in self._items],
            "usage": as_usage(self._usage),
        }

    def _tell(self, kind: str, **fields: Any) -> None:
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        self._told.append(b"event: " + kind.encode() + b"\n" + encode(orjson.dumps(event)))

    def _sent(self) -> bytes:
        sent = b"".join(self._told)
        self._told.clear()
        return sent


def _at(item: Said | Called, part: int | None = None) -> Body:
    place: Body = {"item_id": item.id, "output_index": item.index}
    return place if part is None else {**place, "content_index": part}
