"""Colang written into a test, as the record that the reader of a folder would make of it; nothing is checked."""

from typing import Any

from rails._colang.folder import Flow, Folder, Message, Place
from rails._colang.nemo import RailsConfig, parse_colang_file

LANGUAGES = ("en", "it", "ko")


def folder(source: str, **fields: Any) -> Folder:
    """All flows of `source` (the file is "house.co"); a message in another language is named `greet (it)`."""
    parsed = parse_colang_file("house.co", content=source, include_source_mapping=True)
    flows = {flow["id"]: _flow(flow) for flow in parsed["flows"]}
    made: dict[str, Any] = {
        "flows": flows, "input": (), "output": (), "slow_input": (), "slow_output": (), "dialog": False,
        "messages": _messages(parsed["bot_messages"]), "variables": frozenset(), "words": frozenset(), "functions": {},
        "config": RailsConfig(models=[]), "stock": False, "notes": (),
    }  # fmt: skip
    return Folder(**made | fields)


def _flow(parsed: dict[str, Any]) -> Flow:
    first, *rest = parsed["elements"]
    elements = rest if first["_type"] == "meta" else [first, *rest]
    line = min(element["_source_mapping"]["line_number"] for element in elements if "_source_mapping" in element) - 1
    return Flow(parsed["id"], "", Place("house.co", line), elements, subflow=True)


def _messages(parsed: dict[str, list[str]]) -> dict[str, Message]:
    texts: dict[str, dict[str, tuple[str, ...]]] = {}
    for written, variants in parsed.items():
        name, _, language = written.removesuffix(")").partition(" (")
        texts.setdefault(name, {})[language or LANGUAGES[0]] = tuple(variants)
    return {name: Message(name, Place("house.co", 1), by_language) for name, by_language in texts.items()}
