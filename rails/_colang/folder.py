"""A folder of Colang flows, read and checked: what runs, what it says, and everything that is wrong with it.

A folder with a `config.yml` is a NeMo configuration and is read as NeMo reads it: models may write its messages, and
its lists tell which flows run. In any other folder the policy names the flows, and every message has a text in every
language of the policy.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from proxy.turn import Fault, PolicyError
from rails._colang import code as _code
from rails._colang import stock as _stock
from rails._colang.lint import Known, circles, expressions, lint, variables, words
from rails._colang.listed import Listing
from rails._colang.names import Names, names
from rails._colang.parse import Script, parse
from rails._colang.script import Findings, Flow, Message, Place, Source, inside

__all__ = ["Flow", "Folder", "Message", "Place", "read"]

_MOST_FLOWS, _MOST_LINES = 400, 20_000
_NOTHING: Mapping[str, Collection[str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Folder:
    """All that a policy's flows are."""

    flows: Mapping[str, Flow]  # the listed ones and what they reach by `do`, NeMo's library included
    input: tuple[str, ...]  # on the fast path, in order, as the list has them (may carry parameters: "x $model=y")
    output: tuple[str, ...]
    slow_input: tuple[str, ...]  # these ask a language model: NeMo's ordinary path
    slow_output: tuple[str, ...]
    dialog: bool  # there are flows that begin with `user ...`
    messages: Mapping[str, Message]
    variables: frozenset[str]  # names used anywhere ("history", "session")
    words: frozenset[str]  # every text that stands in a flow: what a session may remember
    functions: Mapping[str, Callable[..., Any]]  # of the folder's actions.py, and of NeMo's library
    config: Any  # NeMo's `RailsConfig`
    stock: bool  # it has a config.yml
    notes: tuple[Fault, ...]  # what `kindrail check` tells beside faults


def read(
    folder: Path, base: Path, input: Sequence[str] | None, output: Sequence[str] | None, *, languages: Sequence[str],
    actions: Collection[str], lines: Collection[str], code: bool, judge: str,
    given: Mapping[str, Collection[str]] = _NOTHING, answers: Mapping[str, Collection[str]] = _NOTHING,
) -> Folder:  # fmt: skip
    """The flows of a folder. Nothing of it is run, unless `code` lets its `actions.py` run.

    base: the policy's folder, which faults' files are relative to. input, output: the flows that run; None: those of
    config.yml. actions: the names of Kindrail's own. lines: keys of the policy's `say`, which `bot x y` reaches as
    `x_y`. judge: the model that flows may ask; empty: none. given: the fields of `session`, `rails` and `values`.
    answers: by the name of an action, the fields of what it answers. What is not in these two may have any field.
    Raises `PolicyError` with every fault of the folder.
    """
    scripts = [parse(Source.read(path, base), languages[0]) for path in inside(folder, ".co")]
    stock = _stock.configuration(folder, base)
    sources = [*(script.source for script in scripts), *stock.sources]
    found = Findings(sources, str(folder.relative_to(base) if folder.is_relative_to(base) else folder))
    found.faults += [*stock.faults, *(fault for script in scripts for fault in script.faults)]
    found.notes += stock.notes
    flows = _flows(scripts, found)
    messages = _messages(scripts, languages, bool(stock.sources), found)
    functions = _functions(folder, base, actions, code, found)
    forbidden = set() if code else _code.named(folder).keys() - set(actions)
    _check(flows, _known(scripts, stock, actions, lines, functions, forbidden), found)
    own = frozenset((*actions, *forbidden))
    named = {name for script in scripts for kind, name in script.named if kind == "flow"}
    listing = Listing(
        flows, named, messages, functions, own, frozenset(lines), tuple(languages), judge, bool(stock.sources), found
    )
    asked = {"input": input, "output": output}
    lists = {kind: tuple(stock.lists[kind] if listed is None else listed) for kind, listed in asked.items()}
    for kind, listed in lists.items():
        listing.take(kind, listed, stock.places if asked[kind] is None else None)
    dialog = listing.dialog()
    listing.idle()
    if not any(script.faults for script in scripts):  # what cannot be read may set what others read, and call them
        listing.late()
        others = variables(entry for listed in lists.values() for entry in listed) | _code.texts(folder)
        setting = {**listing.reached, **flows}.values()  # NeMo's own among them
        _named(names(setting, given, answers, others, bool(stock.sources)), flows, messages, found)
    if not (listing.reached or dialog or stock.sources or found.faults):
        found.option(("folder",), "no flow runs", "name the flows of this folder under `input` or `output`")
    if found.faults:
        raise PolicyError(found.faults)
    return _made(listing, dialog, _stock.built(stock, scripts, lists, judge, found.whole.file))


def _made(listing: Listing, dialog: bool, config: Any) -> Folder:
    """The folder, once nothing is wrong with it."""
    flows, messages, found = listing.flows, listing.messages, listing.found
    texts = [text for flow in {**flows, **listing.reached}.values() for text in expressions(flow)]
    said = [one for message in messages.values() for variants in message.texts.values() for one in variants]
    return Folder(
        flows=listing.reached,
        input=tuple(listing.fast["input"]),
        output=tuple(listing.fast["output"]),
        slow_input=tuple(listing.slow["input"]),
        slow_output=tuple(listing.slow["output"]),
        dialog=dialog,
        messages=messages,
        variables=frozenset(variables([*texts, *said])),
        words=frozenset(words(texts)),
        functions=listing.functions,
        config=config,
        stock=listing.stock,
        notes=tuple(dict.fromkeys(found.notes)),
    )


def _flows(scripts: Sequence[Script], found: Findings) -> dict[str, Flow]:
    flows: dict[str, Flow] = {}
    for flow in (flow for script in scripts for flow in script.flows):
        if flow.id in flows:
            found.fault(flow.place, f"the flow `{flow.id}` stands in {flows[flow.id].place} already")
        flows.setdefault(flow.id, flow)
    lines = sum(len(script.source.lines) for script in scripts)
    for number, most, what in ((len(flows), _MOST_FLOWS, "flows"), (lines, _MOST_LINES, "lines")):
        if number > most:
            found.fault(found.whole, f"{number} {what}: a folder holds {most} at most")
    return flows


def _messages(scripts: Sequence[Script], languages: Sequence[str], stock: bool, found: Findings) -> dict[str, Message]:
    """The messages, joined over their languages. What is written for languages that the policy has not is left out."""
    messages: dict[str, Message] = {}
    for message in (message for script in scripts for message in script.messages):
        before = messages.get(message.name, Message(message.name, message.place))
        if message.texts.keys() & before.texts.keys():
            found.fault(message.place, f"the message `{message.name}` stands in {before.place} already")
        if not all(text.strip() for variants in message.texts.values() for text in variants):
            hint = "write what is said, or `stop` alone in the flow"
            found.fault(message.place, f"the message `{message.name}` has an empty text", hint)
        both = {**message.texts, **before.texts}
        texts = {language: both[language] for language in languages if language in both}
        messages[message.name] = Message(message.name, before.place, texts)
    written = {one for script in scripts for one in script.written}  # some of them may not have been readable
    for message in messages.values():
        missing = [one for one in languages if one not in message.texts and (message.name, one) not in written]
        _complete(message, missing, languages, stock, found)
    return messages


def _complete(message: Message, missing: Sequence[str], languages: Sequence[str], stock: bool, found: Findings) -> None:
    """A message has a text in every language; in a NeMo configuration, in the first one at least."""
    if missing and (not stock or missing[0] == languages[0]):
        hint = f"write it under `define bot {message.name} ({missing[0]})`"
        quoted = ", ".join(f"`{language}`" for language in missing)
        found.fault(message.place, f"the message `{message.name}` has no text in {quoted}", hint)
    elif missing:
        quoted = ", ".join(f"`{language}`" for language in message.texts)
        found.note(message.place, f"the message `{message.name}` is said in {quoted} only")


def _functions(
    folder: Path, base: Path, taken: Collection[str], code: bool, found: Findings
) -> dict[str, Callable[..., Any]]:
    """The actions of the folder's own Python, where it may run; what may not, or never does, is noted."""
    for name, (path, line) in _code.named(folder).items():
        if name in taken:
            message = f"Kindrail itself gives the action `{name}`, which would be called instead"
            found.faults.append(Source.read(path, base).fault(line, message, "give this one another name"))
    config = folder / "config.py"
    for path in (*(() if code else _code.files(folder)), *([config] if config.is_file() else ())):
        found.notes.append(Source.read(path, base).fault(1, f"{path.name} is not run"))
    functions, faults = _code.load(folder, base) if code else ({}, [])
    found.faults += faults
    return functions


def _known(
    scripts: Sequence[Script], stock: _stock.Stock, actions: Collection[str], lines: Collection[str],
    functions: Collection[str], forbidden: set[str],
) -> Known:  # fmt: skip
    named = [one for script in scripts for one in script.named]
    inline = {message.name for script in scripts for message in script.messages}
    return Known(
        flows={name for kind, name in named if kind == "flow"} | _stock.library_flows(),
        messages=None if stock.sources else {name for kind, name in named if kind == "bot"} | inline,
        lines=lines,
        actions={*actions, *functions, *(_stock.library_actions() - forbidden)},
        forbidden=forbidden,
    )


def _check(flows: Mapping[str, Flow], known: Known, found: Findings) -> None:
    for flow in flows.values():
        for number, message, hint in lint(flow, known):
            found.fault(flow.at(number), message, hint)
    for flow, (number, message, hint) in circles(flows):
        found.fault(flow.at(number), message, hint)


def _named(names: Names, flows: Mapping[str, Flow], messages: Mapping[str, Message], found: Findings) -> None:
    """What is read and never set. In a NeMo configuration an action of NeMo's may set it: that is noted."""
    tell = found.note if names.stock else found.fault
    for flow in flows.values():
        for number, message, hint in names.unset(flow):
            tell(flow.at(number), message, hint)
    for said in messages.values():
        for message, hint in names.unfilled(said):
            tell(said.place, message, hint)
