"""One Colang file, read with NeMo's parser definition by definition, so that every fault is found and has its line.

NeMo stops at a file's first fault, often without saying where; it joins flows that share a name, swallows lines that
stand too deep, and goes round for ever where a definition is empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from proxy.turn import Fault
from rails._colang.nemo import get_numbered_lines, parse_colang_file
from rails._colang.script import Flow, Message, Place, Source

_DEFINE = re.compile(r"define\s+(?:[\w-]+\s+)*?(flow|subflow|bot|user)\b\s*(.*?)\s*:?$")
_LANGUAGE = re.compile(r"(.*\S)\s*\(([A-Za-z]{2})\)$")
_OPENS = re.compile(r"(?:def|define|if|elif|else|while|when|any)\b")  # lines that have lines under them
_STATEMENT = re.compile(r"(?:bot|user|do|if|else|while|when|stop|return|execute|exec|goto|label|create|event)\b|\$\w")
_NOISE = re.compile(r" on line \d+")
_QUOTES = '"""'


@dataclass(slots=True)
class Script:
    """What stands in one file. `named`: all names that it defines, well or badly."""

    source: Source
    flows: list[Flow] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    named: set[tuple[str, str]] = field(default_factory=set)  # ("flow" or "bot", name)
    written: set[tuple[str, str]] = field(default_factory=set)  # (name, language) of all messages, well or badly
    parsed: dict[str, Any] = field(default_factory=dict)  # what NeMo makes of the whole file


def parse(source: Source, first: str) -> Script:
    """Everything in the file, faults included. `first`: the language of a message that names none."""
    script = Script(source)
    for line in source.lines:
        if define := _DEFINE.match(line.strip()):
            name, language = _language(define[2], first)
            script.named.add(("bot" if define[1] == "bot" else "flow", name))
            script.written |= {(name, language)} if define[1] == "bot" else set()
    script.faults += _unreadable(source)
    if script.faults:
        return script
    blocks = list(_blocks(get_numbered_lines(source.text)))
    for number, block in enumerate(blocks):
        end = _starts(blocks[number + 1][0]) - 1 if number + 1 < len(blocks) else len(source.lines)
        _read_block(script, block, end, first)
    if not script.faults:
        script.parsed = _parsed(script, source.text, 1, [line for block in blocks for line in block])
    return script


def _parsed(script: Script, text: str, start: int, lines: list[dict[str, Any]]) -> dict[str, Any]:
    """NeMo's parse of a text that begins at the line `start`; empty where it fails, which is a fault."""
    try:
        return dict(parse_colang_file(script.source.file, content=text))
    except Exception as error:
        script.faults.append(_syntax(script.source, error, start, lines))
        return {}


def _unreadable(source: Source) -> Iterator[Fault]:
    """What keeps NeMo from telling lines apart at all."""
    foreign = next((n for n, line in enumerate(source.lines, 1) if "\ufffd" in line), 0)
    if foreign:
        yield source.fault(foreign, "a character here is no UTF-8", "save the file as UTF-8")
    tab = next((n for n, line in enumerate(source.lines, 1) if "\t" in line[: len(line) - len(line.lstrip())]), 0)
    if tab:
        yield source.fault(tab, "Colang is indented with spaces, not with tabs")
    lone = next((n for n, line in enumerate(source.lines, 1) if line.strip() == "\\"), 0)
    if lone:
        yield source.fault(lone, "a `\\` joins the next line to this one, and here is nothing to join it to")
    marks = [n for n, line in enumerate(source.lines, 1) for _ in range(line.count(_QUOTES))]
    if len(marks) % 2:
        yield source.fault(marks[-1], f"this {_QUOTES} opens a description that nothing closes")
    code = [n for n, line in enumerate(source.lines, 1) if line.strip() and not line.lstrip().startswith(("#", '"'))]
    if code and not any(_DEFINE.match(line.strip()) for line in source.lines):
        yield source.fault(
            code[0], "this is no Colang 1.0: nothing is defined in it", "a flow begins with `define flow its name`"
        )


def _blocks(lines: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """NeMo's numbered lines, parted at the left margin. Imports do nothing in Colang 1.0."""
    block: list[dict[str, Any]] = []
    for line in lines:
        if line["indentation"] == 0:
            if block:
                yield block
            block = []
        if line["indentation"] or not line["text"].startswith(("import ", "include ")):
            block.append(line)
    if block:
        yield block


def _starts(line: dict[str, Any]) -> int:
    """NeMo numbers a text over several lines by its last one."""
    return int(line["number"]) - str(line["text"]).count("\n")


def _read_block(script: Script, block: list[dict[str, Any]], end: int, first: str) -> None:
    source, start = script.source, _starts(block[0])
    define = _DEFINE.match(block[0]["text"])
    if define is None:
        hint = "begin with `define flow`, `define subflow`, `define bot` or `define user`, at the left margin"
        script.faults.append(source.fault(start, "this line belongs to no definition", hint))
    elif define[1] == "user":
        lost = (_starts(line) for line in block if "\n" in line["text"])
        script.faults += (source.fault(line, 'an example is one line in quotes: "like this"') for line in lost)
    elif len(block) == 1:
        script.faults.append(source.fault(start, f"`{define[2]}` has no lines of its own under it"))
    elif define[1] == "bot":
        _read_message(script, define[2], block, first)
    else:
        faults = list(_misplaced(source, block))
        script.faults += faults
        if not faults:
            _read_flow(script, start, end, block, first)


def _read_message(script: Script, name: str, block: list[dict[str, Any]], first: str) -> None:
    source, texts = script.source, []
    for line in block[1:]:
        text = str(line["text"])
        if len(text) > 1 and text[0] == text[-1] == '"' and "\n" not in text:
            texts.append(text[1:-1])
        else:
            hint = "no comment behind it, no condition before it: those belong into the flow"
            script.faults.append(source.fault(_starts(line), 'a message is one line in quotes: "like this"', hint))
    start = _starts(block[0])
    bare, language = _language(name, first)
    if bare != name and f"({language})" not in name:
        script.faults.append(source.fault(start, "a language has small letters", f"write `({language})`"))
    script.messages.append(Message(bare, Place(source.file, start), {language: tuple(texts)}))


def _language(name: str, first: str) -> tuple[str, str]:
    """The name of a message and its language, in whatever letters that stands."""
    suffixed = _LANGUAGE.match(name)
    return (suffixed[1], suffixed[2].lower()) if suffixed else (name, first)


def _misplaced(source: Source, block: list[dict[str, Any]]) -> Iterator[Fault]:
    """Lines that NeMo would swallow or give another meaning than their indentation shows."""
    levels = [0]
    for line in block:
        if line["text"].startswith("elif "):
            yield source.fault(_starts(line), "there is no `elif` in Colang", "write `else if`")
    for above, line in pairwise(block):
        opens = bool(_OPENS.match(above["text"]))
        if opens and line["indentation"] <= above["indentation"]:
            yield source.fault(_starts(above), "nothing stands under this line", "indent what belongs to it")
        if line["indentation"] > above["indentation"]:
            levels.append(line["indentation"])
            if not opens and _STATEMENT.match(line["text"]):
                yield source.fault(_starts(line), "this stands deeper than the line above it, which holds no others")
        levels = [level for level in levels if level <= line["indentation"]]
        if line["indentation"] not in levels:
            yield source.fault(_starts(line), "this lines up with no line above it")
            levels.append(line["indentation"])
    if _OPENS.match(block[-1]["text"]):
        yield source.fault(_starts(block[-1]), "nothing stands under this line", "indent what belongs to it")


def _read_flow(script: Script, start: int, end: int, block: list[dict[str, Any]], first: str) -> None:
    source = script.source
    parsed = _parsed(script, "\n".join(source.lines[start - 1 : end]), start, block)
    script.flows += [_flow(source, flow, start) for flow in parsed.get("flows", ())]
    for name, texts in parsed.get("bot_messages", {}).items():  # written into the flow, under its `bot` line
        script.messages.append(Message(name, Place(source.file, start), {first: tuple(texts)}))


def _flow(source: Source, flow: dict[str, Any], start: int) -> Flow:
    elements = flow["elements"]
    for element in elements:
        if mapping := element.get("_source_mapping"):
            line = mapping["line_number"] + start - 1
            shifted = {"filename": source.file, "line_number": line, "line_text": source.lines[line - 1]}
            element["_source_mapping"] = {**mapping, **shifted}
    meta = elements.pop(0)["meta"] if elements[0]["_type"] == "meta" else {}
    comment = elements[0].get("_source_mapping", {}).get("comment") if elements else ""
    about = re.split(r"(?<=[.!?])\s", " ".join((comment or "").split()), maxsplit=1)[0]
    return Flow(flow["id"], about, Place(source.file, start), elements, bool(meta.get("subflow")))


def _syntax(source: Source, error: Exception, start: int, block: list[dict[str, Any]]) -> Fault:
    """NeMo's fault at its line. Where it names none, the line is the one that fails in the same way when alone."""
    message = f"this is no Colang 1.0: {_told(error)}"
    if line := getattr(error, "line", 0):
        return source.fault(line + start - 1, message)
    for one in block[1:]:
        alone = one["text"].removeprefix("else ").removeprefix("when ")
        try:
            parse_colang_file(source.file, content=f"define flow alone\n  {alone}\n  stop\n")
        except Exception as again:
            if _told(again) == _told(error):
                return source.fault(_starts(one), message)
    return source.fault(start, message)


def _told(error: Exception) -> str:
    """What NeMo says, without its own line numbers and addresses."""
    if isinstance(error, SyntaxError | ValueError | TypeError):
        return 'a parameter is a value or a variable, as in `name="text"` or `name=$it`'
    return _NOISE.sub("", getattr(error, "error", "") or str(error)) or type(error).__name__
