"""YAML with its places: every scalar stays text, and every node knows the file, line and column it came from.

PyYAML's ordinary loader reads `mode: on` as true, `no` in a list as false and keeps the last of two equal keys. Here
nothing is guessed: `off` is the word "off" until the schema gives it a type.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from proxy.faults import Fault, PolicyError

Loc = Sequence[str | int]  # a path into a file: keys and list positions, as pydantic names a place
_OWN = ("policy", "version", "about", "extends")  # what each file says for itself and no file inherits


class _Loader(yaml.BaseLoader):
    """Without aliases, which could make a small file endless (`extends` does their work), and with words as keys."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="an alias (`*name`) is not allowed: write it out", problem_mark=mark)
        node = super().compose_node(parent, index)
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=key.start_mark)
        return node


def compose(path: Path, source: bytes) -> yaml.MappingNode:
    """The `source` of a file as a tree. Raises `PolicyError` where it is no YAML mapping."""
    try:
        text = source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PolicyError([Fault(str(path), 1, 1, f"not UTF-8 text: byte {error.start} cannot be read")]) from None
    root = _parse(path, text)
    if root is None:
        raise PolicyError([Fault(str(path), 1, 1, "the file is empty", hint="a policy begins with `policy: its-name`")])
    if not isinstance(root, yaml.MappingNode):
        raise PolicyError([fault(root.start_mark, "a policy is a mapping", "it begins with `policy: its-name`")])
    return root


def _parse(path: Path, text: str) -> yaml.Node | None:
    try:
        loader = _Loader(text)
        loader.name = str(path)
        return loader.get_single_node()
    except yaml.reader.ReaderError as error:
        line, column = text.count("\n", 0, error.position), error.position - text.rfind("\n", 0, error.position) - 1
        message = f"the character U+{ord(text[error.position]):04X} is not allowed in YAML"
        raise PolicyError([Fault(str(path), line + 1, column + 1, message)]) from None
    except yaml.MarkedYAMLError as error:
        raise PolicyError([_syntax(path, error)]) from None


def _syntax(path: Path, error: yaml.MarkedYAMLError) -> Fault:
    problem = error.problem or "cannot be read"
    message = f"not valid YAML: {error.context}, {problem}" if error.context else f"not valid YAML: {problem}"
    hint = "indent with spaces, not with tabs" if "'\\t'" in problem else ""
    mark = error.problem_mark or error.context_mark
    return fault(mark, message, hint) if mark else Fault(str(path), 1, 1, message, hint=hint)


def repeats(root: yaml.MappingNode) -> Iterator[Fault]:
    """Keys that stand twice in one mapping, and rails that share an id, in one file before `extends` merges it."""
    yield from _repeated_keys(root)
    rails = _step(root, "rails")
    seen: dict[object, yaml.Mark] = {}
    for rail in rails[1].value if rails and isinstance(rails[1], yaml.SequenceNode) else ():
        mark = place(rail, ["id"])
        first = seen.setdefault(_id(rail), mark)
        if first is not mark:
            yield fault(mark, f"the rail id `{_id(rail)}` stands here twice", f"the first is in line {first.line + 1}")


def _repeated_keys(node: yaml.Node) -> Iterator[Fault]:
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated_keys(item)
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            if key.value in seen:
                yield fault(
                    key.start_mark, f"`{key.value}` stands here twice", f"the first is in line {seen[key.value]}"
                )
            seen.setdefault(key.value, key.start_mark.line + 1)
            yield from _repeated_keys(value)


def fault(mark: yaml.Mark, message: str, hint: str = "") -> Fault:
    """A fault at a place in a file, with its source line."""
    source = mark.buffer or ""
    start = source.rfind("\n", 0, mark.pointer) + 1
    end = source.find("\n", start)
    line = source[start : end if end >= 0 else None].rstrip("\r\0")
    return Fault(str(mark.name), mark.line + 1, mark.column + 1, message, line, hint)


def place(root: yaml.Node, loc: Loc, *, key: bool = False) -> yaml.Mark:
    """Where `loc` stands: its value, or with `key` its key. Where the path leads nowhere, the last step that exists."""
    node, mark = root, root.start_mark
    for step in loc:
        pair = _step(node, step)
        if pair is None:
            break
        node = pair[1]
        mark = pair[0].start_mark if key else node.start_mark
    return mark


def _step(node: yaml.Node, step: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == step), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step]
    return None


def data(node: yaml.Node) -> Any:
    """The tree as dicts, lists and texts."""
    if isinstance(node, yaml.MappingNode):
        return {key.value: data(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [data(item) for item in node.value]
    return node.value


def extend(base: yaml.MappingNode, over: yaml.MappingNode) -> yaml.MappingNode:
    """`over` on top of the policy it extends: mappings merge by key, rails by id, anything else is replaced."""
    inherited = [(key, value) for key, value in base.value if key.value not in _OWN]
    return _merge(_like(base, inherited), over, rails=True)


def _merge(base: yaml.MappingNode, over: yaml.MappingNode, *, rails: bool = False) -> yaml.MappingNode:
    pairs = {key.value: (key, value) for key, value in base.value}
    for key, value in over.value:
        below = pairs[key.value][1] if key.value in pairs else None
        if isinstance(below, yaml.MappingNode) and isinstance(value, yaml.MappingNode):
            value = _merge(below, value)
        elif (
            rails
            and key.value == "rails"
            and isinstance(below, yaml.SequenceNode)
            and isinstance(value, yaml.SequenceNode)
        ):
            value = _merge_rails(below, value)
        pairs[key.value] = (key, value)
    return _like(over, list(pairs.values()))


def _merge_rails(base: yaml.SequenceNode, over: yaml.SequenceNode) -> yaml.SequenceNode:
    """The base's rails in their order, each changed where `over` names it; new ones behind them."""
    merged = list(base.value)
    by_id = {_id(rail): position for position, rail in enumerate(merged)}
    for rail in over.value:
        position = by_id.get(_id(rail))
        if position is None:
            merged.append(rail)
        else:
            merged[position] = _merge(merged[position], rail)
    return yaml.SequenceNode(over.tag, merged, over.start_mark, over.end_mark)


def _id(rail: yaml.Node) -> object:
    """The rail's id; what has none is like no other."""
    pair = _step(rail, "id") if isinstance(rail, yaml.MappingNode) else None
    return pair[1].value if pair and isinstance(pair[1], yaml.ScalarNode) else rail


def _like(node: yaml.MappingNode, pairs: list[tuple[yaml.Node, yaml.Node]]) -> yaml.MappingNode:
    return yaml.MappingNode(node.tag, pairs, node.start_mark, node.end_mark)
