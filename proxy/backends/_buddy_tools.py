"""What the demo buddy writes as JSON: the arguments of a tool that it was asked for by name, or a structured answer."""

from __future__ import annotations

import re
from typing import Any

import orjson

from proxy.backends._buddy import text_of

_QUOTED = re.compile(r'"([^"]+)"|“([^”]+)”|«([^»]+)»')
_DEEPEST = 8  # levels of a schema that may refer to itself
_PLAIN = {"integer": 1, "number": 1, "boolean": True, "null": None}
_ANY_OBJECT = {"type": "object", "properties": {"answer": {"type": "string"}}}


def tool_call(body: dict[str, Any]) -> tuple[str, str] | None:
    """Name and arguments of the tool that the last message names, or that `tool_choice` wants; None for none."""
    functions = [_inner(tool, "function") for tool in body.get("tools") or ()]
    choice, last = body.get("tool_choice") or "auto", body["messages"][-1]
    if choice == "none" or last.get("role") != "user":  # after a tool's result the buddy speaks again
        return None
    said = text_of(last)
    if isinstance(choice, dict):
        wanted = [one for one in functions if one.get("name") == _inner(choice, "function").get("name")]
    else:
        named = [one for one in functions if one.get("name") and str(one["name"]) in said]
        wanted = named or (functions if choice == "required" else [])
    if not wanted:
        return None
    return str(wanted[0].get("name")), _written(_inner(wanted[0], "parameters") or {"type": "object"}, said)


def structured(body: dict[str, Any]) -> str | None:
    """The answer to a `response_format` that wants JSON; None for plain text."""
    wanted = _inner(body, "response_format")
    if wanted.get("type") not in ("json_object", "json_schema"):
        return None
    said = [text_of(message) for message in body["messages"] if message.get("role") == "user"]
    schema = _inner(_inner(wanted, "json_schema"), "schema") or _ANY_OBJECT
    return _written(schema, said[-1] if said else "")


def _inner(value: Any, name: str) -> dict[str, Any]:
    """The object in that field; an empty one where there is none."""
    inner = value.get(name) if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else {}


def _written(schema: dict[str, Any], said: str) -> str:
    return orjson.dumps(_made(schema, schema, _word(said))).decode()


def _word(said: str) -> str:
    """What stands in every string: the text quoted last, else the last word."""
    quoted = [next(filter(None, groups)) for groups in _QUOTED.findall(said)]
    words = said.split() or [""]
    return quoted[-1] if quoted else words[-1].strip(".,;:!?")


def _made(schema: Any, root: dict[str, Any], word: str, depth: int = 0) -> Any:
    """A value that fits the schema: its first alternative, 1 for numbers, `word` for strings."""
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return None
    if "$ref" in schema:
        return _made(_found(str(schema["$ref"]), root), root, word, depth + 1)
    if "const" in schema or _first(schema, "enum"):
        return schema.get("const") or _first(schema, "enum")
    if alternative := _first(schema, "anyOf", "oneOf", "allOf"):
        return _made(alternative, root, word, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if kind == "object":
        return {name: _made(field, root, word, depth + 1) for name, field in _inner(schema, "properties").items()}
    if kind == "array":
        return [_made(schema.get("items", {}), root, word, depth + 1)]
    return _PLAIN.get(str(kind), word)


def _first(schema: dict[str, Any], *lists: str) -> Any:
    """The first item of the first of these lists that has any."""
    return next((schema[name][0] for name in lists if isinstance(schema.get(name), list) and schema[name]), None)


def _found(reference: str, root: dict[str, Any]) -> Any:
    """What `#/$defs/Name` refers to."""
    place: Any = root
    for name in reference.removeprefix("#").strip("/").split("/"):
        place = place.get(name) if name and isinstance(place, dict) else place
    return place
