"""NeMo's own side of a folder: its configuration (`config.yml`), and the flows, messages and actions of its library."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from proxy.turn import Fault, PolicyError
from rails._colang.nemo import LIBRARY, RailsConfig, default_rail_catalog, join_config, resolve_import_ref
from rails._colang.parse import Script, parse
from rails._colang.script import Message, Place, Source, inside

# Actions of NeMo's core, which no manifest declares, and whether they ask a model.
CORE = {
    "create_event": False, "generate_user_intent": True, "generate_next_steps": True, "generate_bot_message": True,
    "generate_value": True, "generate_intent_steps_message": True, "retrieve_relevant_chunks": True,
}  # fmt: skip
_ELSEWHERE = ("retrieval", "tool_input", "tool_output", "dialog", "actions")  # rails that are not of this house
_SENT_OUT = ("tracing", "metrics")  # NeMo would write or send texts of its own accord
_LISTS = ("input", "output")


@dataclass(slots=True)
class Stock:
    """What a configuration says."""

    raw: dict[str, Any] = field(default_factory=dict)
    sources: list[Source] = field(default_factory=list)  # config.yml first; empty: there is none
    lists: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict.fromkeys(_LISTS, ()))
    places: dict[str, Place] = field(default_factory=dict)  # "input:a flow" -> where the list has it
    faults: list[Fault] = field(default_factory=list)
    notes: list[Fault] = field(default_factory=list)


def configuration(folder: Path, base: Path) -> Stock:
    """The YAML of a folder, joined as NeMo joins it; empty where there is no config.yml."""
    main = next((path for path in (folder / "config.yml", folder / "config.yaml") if path.is_file()), None)
    stock = Stock()
    if main is None:
        return stock
    beside = (path for path in inside(folder, ".yml", ".yaml") if not path.is_relative_to(folder / "kb"))
    for path in (main, *(path for path in beside if path != main)):
        stock.sources.append(Source.read(path, base))
        _join(stock, stock.sources[-1])
    if not stock.faults:
        _examine(stock)
    return stock


def _join(stock: Stock, source: Source) -> None:
    try:
        content = yaml.safe_load(source.text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        stock.faults.append(source.fault(mark.line + 1 if mark else 1, "this is no YAML"))
        return
    if not isinstance(content, dict | None):
        stock.faults.append(source.fault(1, "a configuration is a mapping, such as `rails:`"))
        return
    try:
        join_config(stock.raw, content or {})
    except (TypeError, AttributeError):
        stock.faults.append(source.fault(1, "NeMo cannot read this: a list and a mapping are mixed up"))
    for kind in _LISTS:
        for node in entries(source.text, ("rails", kind, "flows")):
            stock.places.setdefault(f"{kind}:{node.value}", Place(source.file, node.start_mark.line + 1))


def _examine(stock: Stock) -> None:
    source, raw = stock.sources[0], stock.raw
    stock.lists = {kind: _listed(stock, ("rails", kind, "flows")) for kind in _LISTS}
    rails = raw["rails"] if isinstance(raw.get("rails"), dict) else {}
    if str(raw.get("colang_version", "1.0")) != "1.0":
        stock.faults.append(source.fault(_line(source, "colang_version"), "Kindrail runs Colang 1.0 only"))
    if raw.pop("import_paths", None):
        hint = "copy what it names into this folder"
        stock.faults.append(source.fault(_line(source, "import_paths"), "nothing is read from other folders", hint))
    if raw.pop("actions_server_url", None):
        line = _line(source, "actions_server_url")
        stock.faults.append(source.fault(line, "no server of actions is asked: it would be sent every text"))
    for key in _ELSEWHERE:
        if isinstance(rails.get(key), dict) and rails[key].get("flows"):
            line = _line(source, "rails", key)
            stock.notes.append(source.fault(line, f"the {key.replace('_', ' ')} flows are not run"))
    for key in _SENT_OUT:
        if raw.pop(key, None):
            stock.notes.append(source.fault(_line(source, key), f"`{key}` is left out: Kindrail keeps its own"))


def _listed(stock: Stock, path: Sequence[str]) -> tuple[str, ...]:
    """The list of flows under these keys."""
    value: Any = stock.raw
    for number, key in enumerate(path, 1):
        wanted: type = list if number == len(path) else dict
        value = value.get(key) or wanted()
        if not isinstance(value, wanted):
            told = f"`{key}` is a {'list of flows' if wanted is list else 'mapping'}"
            stock.faults.append(stock.sources[0].fault(_line(stock.sources[0], *path[:number]), told))
            return ()
    return tuple(str(one) for one in value)


def entries(text: str, path: Sequence[str]) -> list[yaml.ScalarNode]:
    """The scalars of the list that stands under these keys of a YAML text, which know their places."""
    node = _find(text, path)
    return (
        [one for one in node.value if isinstance(one, yaml.ScalarNode)] if isinstance(node, yaml.SequenceNode) else []
    )


def _find(text: str, path: Sequence[str]) -> yaml.Node | None:
    node = yaml.compose(text, yaml.SafeLoader)
    for key in path:
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        node = next((value for name, value in pairs if name.value == key), None)
    return node


def _line(source: Source, *path: str) -> int:
    """Where the value under these keys begins; of the longest part of the path that there is."""
    for end in range(len(path), 0, -1):
        if node := _find(source.text, path[:end]):
            return int(node.start_mark.line) + 1
    return 1


def built(stock: Stock, scripts: Sequence[Script], lists: Mapping[str, Sequence[str]], judge: str, at: str) -> Any:
    """NeMo's `RailsConfig` of a folder. Raises `PolicyError` with the faults that NeMo finds in it.

    Every model is the judge: keys and addresses of the folder's own are never used. No path is in it, so that NeMo
    loads no code. `at`: the file that stands for the folder where there is no config.yml.
    """
    raw = {key: value for key, value in stock.raw.items() if value or key == "rails"}
    types = ["main", *(one.get("type") for one in raw.get("models", ()) if isinstance(one, dict))]
    raw["models"] = [{"type": one, "engine": "openai", "model": judge} for one in dict.fromkeys(types) if one and judge]
    raw["rails"] = dict(raw.get("rails") or {})
    for kind in _LISTS:
        raw["rails"][kind] = {**(raw["rails"].get(kind) or {}), "flows": list(lists[kind])}
    for script in reversed(scripts):  # as NeMo does: the first file's messages win
        join_config(raw, script.parsed)
    try:
        return RailsConfig.parse_object({key: value for key, value in raw.items() if value or key == "models"})
    except Exception as error:
        raise PolicyError(_refused(stock, error, at)) from None


def _refused(stock: Stock, error: Exception, at: str) -> Iterator[Fault]:
    """NeMo's faults in the configuration, each where it stands."""
    source = stock.sources[0] if stock.sources else Source(at, "")
    details = error.errors(include_url=False, include_input=False) if hasattr(error, "errors") else [{}]
    for detail in details:
        path = [str(key) for key in detail.get("loc", ()) if isinstance(key, str)]
        told = f"{'.'.join(path)}: {detail['msg']}" if path else detail.get("msg", str(error))
        yield source.fault(_line(source, *path) if stock.sources else 1, f"NeMo refuses this configuration: {told}")


@cache
def _script(path: Path) -> Script:
    """A file of NeMo's library, parsed once in a process."""
    return parse(Source.read(path, LIBRARY.parent.parent), "en")


def library(flow: str) -> list[Script]:
    """The files of NeMo's library that have this flow and those that it calls; empty: it is none of NeMo's."""
    record = _record(flow)
    if record is None:
        return []
    folder = LIBRARY.parent.parent.joinpath(*record.source.split(".")[:-1])
    common = LIBRARY.parent / "rails" / "llm" / "llm_flows.co"
    return [_script(path) for path in (*(folder / name for name in record.manifest.flows.v1_files), common)]


@cache
def library_message(name: str) -> Message | None:
    """A message of NeMo's library, which is in English."""
    files = (path for path in sorted(LIBRARY.rglob("*.v1.co")) if f"define bot {name}\n" in path.read_text("utf-8"))
    return next((one for path in files for one in _script(path).messages if one.name == name), None)


def library_flows() -> frozenset[str]:
    """The names of all flows of NeMo's library."""
    return frozenset(
        name for one in default_rail_catalog().manifests.values() if one.flows for name in one.flows.flow_names
    )


def remote(flow: str) -> tuple[str, ...]:
    """The services that a library flow sends texts to."""
    record = _record(flow)
    return tuple(record.manifest.privacy.remote_services) if record else ()


def _record(flow: str) -> Any:
    return default_rail_catalog().records.get(default_rail_catalog().owner_for_flow(flow) or "")


@cache
def _references() -> dict[str, Any]:
    manifests = default_rail_catalog().manifests.values()
    return {ref.name: ref for manifest in manifests if manifest.actions for ref in manifest.actions.refs}


def library_actions() -> frozenset[str]:
    """The names of all actions of NeMo's library and core."""
    return frozenset((*_references(), *CORE))


def library_action(name: str) -> Callable[..., Any]:
    """An action of the library, imported. Raises `ImportError` where NeMo wants a package that is not installed."""
    function: Callable[..., Any] = resolve_import_ref(_references()[name])
    return function
