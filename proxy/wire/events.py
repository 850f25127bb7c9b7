"""The events of a streamed answer: what one brings, and how it is changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from proxy.turn import Delta

_FOLLOWS_TEXT = frozenset({"logprobs", "token_ids"})  # true of the text as it came; dropped once it changes
_REASONING = ("reasoning", "reasoning_content")
_ASIDE = frozenset({*_REASONING, "refusal", "tool_calls"})
NAME = re.compile(r"[\w.:/+=,-]{0,64}", re.ASCII)  # a name or number of some server's metadata: no sentence
KEY = re.compile(r"(?!(?:\D*\d){4})[A-Za-z_][\w.:/-]{0,63}", re.ASCII)  # the name of a field: no telephone number


def choice(event: Mapping[str, Any]) -> dict[str, Any] | None:
    """The event's first choice, its only one behind `split`; None for events without one (usage)."""
    choices = event.get("choices")
    found = choices[0] if isinstance(choices, list) and choices else None
    return found if isinstance(found, dict) else None


def index_of(event: Mapping[str, Any]) -> int:
    """Which of several answers the event belongs to; -1 where it does not say so in a way one could rely on."""
    index = (choice(event) or {}).get("index", 0)
    return index if type(index) is int and index >= 0 else -1


def split(delta: Delta) -> list[Delta]:
    """One event for each choice that the event brings; the event itself where it brings one or none.

    What it tells beside its choices (usage) goes with the last of them.
    """
    choices = delta.event.get("choices") or []
    if len(choices) < 2:
        return [delta]
    told = {key: value for key, value in delta.event.items() if key != "usage"}
    parts = [{**told, "choices": [one]} for one in choices]
    if "usage" in delta.event:
        parts[-1]["usage"] = delta.event["usage"]
    return [rewritten(part) for part in parts]


def in_words(delta: Delta) -> Delta:
    """The event with its content as text where it came as a list of parts (Mistral's form); thinking as reasoning."""
    first = choice(delta.event) or {}
    told = first.get("delta")
    if not isinstance(told, dict) or not isinstance(parts := told.get("content"), list):
        return delta
    kinds = [(part.get("type"), part) for part in parts if isinstance(part, dict)]
    text = "".join(_worded(part.get("text")) for kind, part in kinds if kind == "text")
    thought = "".join(_worded(part.get("thinking")) for kind, part in kinds if kind == "thinking")
    said = {**told, "content": text, **({"reasoning": thought} if thought else {})}
    return rewritten({**delta.event, "choices": [{**first, "delta": said}]})


def _worded(value: Any) -> str:
    """A part's text; that of thinking is again a list of parts."""
    if isinstance(value, list):
        return "".join(_worded(part.get("text")) for part in value if isinstance(part, dict))
    return value if isinstance(value, str) else ""


@dataclass(frozen=True, slots=True)
class Aside:
    """What an event brings beside the answer's text: each kind goes a way of its own."""

    reasoning: str = ""
    field: str = ""  # the name under which the server sends reasoning
    refusal: str = ""
    calls: tuple[dict[str, Any], ...] = ()

    @property
    def tells(self) -> bool:
        return bool(self.reasoning or self.refusal or self.calls)


_NOTHING = Aside()


def aside(event: Mapping[str, Any]) -> Aside:
    """The reasoning, refusal and tool calls of an event; the same empty object where there are none."""
    delta = (choice(event) or {}).get("delta")
    if not isinstance(delta, dict) or _ASIDE.isdisjoint(delta):
        return _NOTHING
    field = next((name for name in _REASONING if isinstance(delta.get(name), str) and delta[name]), "")
    refusal = delta.get("refusal")
    calls = delta.get("tool_calls")
    found = Aside(
        delta[field] if field else "",
        field,
        refusal if isinstance(refusal, str) else "",
        tuple(one for one in calls if isinstance(one, dict)) if isinstance(calls, list) else (),
    )
    return found


def content(event: Mapping[str, Any]) -> str:
    """The text that the event brings."""
    delta = (choice(event) or {}).get("delta")
    text = delta.get("content") if isinstance(delta, dict) else None
    return text if isinstance(text, str) else ""


def finish_reason(event: Mapping[str, Any]) -> str | None:
    """Why the answer ended, if this event says so (TGI's empty string says nothing)."""
    return (choice(event) or {}).get("finish_reason") or None


def with_text(event: Mapping[str, Any], text: str) -> Delta:
    """The event with other text; what was true of the old text alone is left out, and every list, whatever its name:
    it may be the text's tokens.
    """
    first = choice(event) or {"index": 0, "delta": {}}
    changed = {key: value for key, value in _unlisted(first).items() if key not in _FOLLOWS_TEXT}
    changed["delta"] = {**_unlisted(first.get("delta") or {}), "content": text}
    return rewritten({**_unlisted(event), "choices": [changed]})


def _unlisted(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if not _lists(value)}


def _lists(value: Any) -> bool:
    return bool(value) and (isinstance(value, list) or (isinstance(value, dict) and any(map(_lists, value.values()))))


def told_once(delta: Delta) -> bool:
    """Whether the event's bytes say what was read of them and nothing more: of two equal keys only the last is read.

    Exact: what was not read is a key at least, and has quotes, which JSON writes as themselves or as \\u0022.
    """
    again = orjson.dumps(delta.event)
    return delta.raw == again or (delta.raw.count(b'"') == again.count(b'"') and b"\\u0022" not in delta.raw)


def rewritten(event: Mapping[str, Any]) -> Delta:
    """An event of the house's own writing."""
    body = dict(event)
    return Delta(orjson.dumps(body), body)
