"""Everything that can be wrong with a policy, found at once and shown at its place.

The schema comes first, then each rail's own options, then what must agree across the file: names that are referred to,
languages, and what a child's policy must have. These cross checks read the raw data with care, so that a file with
other faults shows these too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

import rails
from proxy.faults import listed, nearest
from proxy.policy.marks import Loc
from proxy.policy.schema import Entry, PolicyFile
from proxy.policy.typed import Sheet, entries_of, typed
from proxy.turn import Hold, Options

_HOLDS = get_args(Hold)
_NAMED = {"phrases": "list", "say": "line", "steer": "note"}  # what an option of ListName, SayKey, SteerKey names
_HOUSE_LINES = {"sorry": "it is said when a rail fails", "fallback": "it is said when nothing is left of an answer"}


def examine(sheet: Sheet, path: Path) -> tuple[PolicyFile | None, list[Options | None]]:
    """The policy and its rails' options, typed; with faults on the sheet neither may be used. path: the policy's."""
    policy = typed(PolicyFile, sheet.raw, sheet)
    options = [_options(sheet, number, entry, path.parent) for number, entry in _entries(sheet)]
    if isinstance(found := sheet.raw.get("policy"), str) and found != path.stem:
        sheet.fault(["policy"], f"the policy is called `{found}`, its file `{path.stem}`", "they must have one name")
    _languages(sheet)
    _house_lines(sheet)
    _test_languages(sheet)
    _retry(sheet)
    if sheet.raw.get("audience") == "child":
        _child(sheet)
    return policy, options


def _entries(sheet: Sheet) -> Iterator[tuple[int, dict[str, Any]]]:
    entries = sheet.raw.get("rails")
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        if isinstance(entry, dict):
            yield number, entry


def _options(sheet: Sheet, number: int, entry: Mapping[str, Any], folder: Path) -> Options | None:
    """The options of one rail's entry, typed by the rail's own model, with what they refer to looked up."""
    name = entry.get("rail")
    if not isinstance(name, str) or not name:
        return None  # the schema has said so
    if name not in rails.names():
        sheet.fault(["rails", number, "rail"], f"no rail called `{name}` in rails/", nearest(name, rails.names()))
        return None
    module = rails.load(name)
    given = {key: value for key, value in entry.items() if key not in Entry.model_fields}
    _references(sheet, ["rails", number], module.RailOptions, given)
    _folders(sheet, number, module.RailOptions, given, folder)
    _hold(sheet, number, name, module.Rail)
    return typed(module.RailOptions, given, sheet, ["rails", number], f"the {name} rail")


def _references(sheet: Sheet, at: Loc, model: type[BaseModel], given: Mapping[str, Any]) -> None:
    """The lists, lines and notes that options name, those of a mapping's entries too."""
    for option, info in model.model_fields.items():
        section = next((mark for mark in info.metadata if isinstance(mark, str) and mark in _NAMED), None)
        value = given.get(option)
        inner = entries_of(info)
        if inner is not None and isinstance(value, dict):
            for name, entry in value.items():
                if isinstance(entry, dict):
                    _references(sheet, [*at, option, name], inner, entry)
        if section is None or not isinstance(value, str):
            continue
        if value and value not in sheet.part(section):
            hint = nearest(value, sheet.part(section))
            sheet.fault([*at, option], f"no {_NAMED[section]} `{value}` under `{section}`", hint)
        elif not value and info.is_required():
            sheet.fault([*at, option], f"`{option}` must name a {_NAMED[section]} under `{section}`")


def _folders(sheet: Sheet, number: int, model: type[BaseModel], given: Mapping[str, Any], folder: Path) -> None:
    """A folder that an option names lies under the policy's, so that it goes wherever the policy goes."""
    home = folder.resolve()
    for option, info in model.model_fields.items():
        value = given.get(option)
        if "folder" not in info.metadata or not isinstance(value, str):
            continue
        named = folder / value.replace("\0", "")
        if home not in named.resolve().parents:
            hint = "name one that stands beside the policy"
            sheet.fault(["rails", number, option], f"`{value}` is no folder beside the policy", hint)
        elif not named.is_dir():
            hint = nearest(value, [path.name for path in folder.iterdir() if path.is_dir()])
            sheet.fault(["rails", number, option], f"no folder `{value}` beside the policy", hint)


def _hold(sheet: Sheet, number: int, name: str, rail: Any) -> None:
    """A rail that judges answers must be given pieces as large as it needs."""
    hold = sheet.raw.get("hold", "sentence")
    if hold in _HOLDS and "assistant" in rail.content | rail.shape and _HOLDS.index(hold) < _HOLDS.index(rail.needs):
        message = f"`{name}` can judge nothing smaller than a {rail.needs}, and this policy has `hold: {hold}`"
        sheet.fault(["rails", number, "rail"], message, f"write `hold: {rail.needs}`")


def _languages(sheet: Sheet) -> None:
    """Whatever is said or looked for must be there in every language of the policy."""
    for section in ("say", "steer", "stand_ins", "phrases"):
        for key, entry in sheet.part(section).items():
            for language in _spoken(sheet):
                if isinstance(entry, dict) and language not in entry:
                    hint = "every language in `languages` needs one"
                    sheet.fault([section, key], f"`{section}.{key}` has no `{language}`", hint, key=True)
    neutral = sheet.part("vault").get("neutral")
    for language in _spoken(sheet):
        if isinstance(neutral, dict) and language not in neutral:
            hint = "it stands for what is not given back"
            sheet.fault(["vault", "neutral"], f"`vault.neutral` has no `{language}`", hint, key=True)


def _house_lines(sheet: Sheet) -> None:
    for key, purpose in _HOUSE_LINES.items():
        if "say" in sheet.raw and key not in sheet.part("say"):
            sheet.fault(["say"], f"`say` has no `{key}`", f"write one in every language: {purpose}", key=True)


def _test_languages(sheet: Sheet) -> None:
    for number, entry in _entries(sheet):
        tests = entry.get("tests")
        for kind, cases in tests.items() if isinstance(tests, dict) else ():
            for position, case in enumerate(cases if isinstance(cases, list) else []):
                language = case.get("lang") if isinstance(case, dict) else None
                if isinstance(language, str) and language not in _spoken(sheet):
                    loc = ["rails", number, "tests", kind, position, "lang"]
                    hint = f"they are {listed(_spoken(sheet), 'and')}"
                    sheet.fault(loc, f"`{language}` is not one of the policy's languages", hint)


def _retry(sheet: Sheet) -> None:
    """What asks the model once more is a rail of this policy that judges answers."""
    retry = sheet.part("retry")
    note, named = retry.get("note"), retry.get("rails")
    if isinstance(note, str) and note not in sheet.part("steer"):
        hint = nearest(note, sheet.part("steer"))
        sheet.fault(["retry", "note"], f"no note `{note}` under `steer`", hint)
    kinds = {entry.get("id"): entry.get("rail") for _, entry in _entries(sheet)}
    for position, one in enumerate(named if isinstance(named, list) else []):
        loc: list[str | int] = ["retry", "rails", position]
        if one not in kinds:
            sheet.fault(loc, f"no rail `{one}` in this policy", nearest(str(one), [str(id) for id in kinds]))
        elif kinds[one] in ("crisis", "stop"):
            sheet.fault(loc, f"what `{one}` says stands: it is never asked for again", "leave it out")
        elif (kind := kinds[one]) in rails.names() and not _judges_answers(rails.load(kind).Rail):
            sheet.fault(loc, f"`{one}` judges no answers", "name a rail that does")


def _judges_answers(rail: Any) -> bool:
    return "assistant" in rail.content | rail.shape


def _child(sheet: Sheet) -> None:
    """Law 10: `crisis` first, and `stop`, both enforced. A policy that only observes is therefore `audience: adult`."""
    kinds = {number: entry.get("rail") for number, entry in _entries(sheet)}
    if kinds.get(0) != "crisis":
        hint = "a child in danger comes before everything"
        sheet.fault(["rails", 0], "a policy for children has a `crisis` rail first", hint)
    if "stop" not in kinds.values():
        hint = "a child who wants to stop is let go"
        sheet.fault(["rails"], "a policy for children has a `stop` rail", hint, key=True)
    if "vault" in sheet.raw:
        hint = "leave it out: the model reads the stand-ins under `stand_ins`"
        sheet.fault(["vault"], "a policy for children has no vault: nothing private is given back", hint, key=True)
    if "judge" in kinds.values() and not any(_masks(kind) for kind in kinds.values()):
        hint = "a judge reads what a child said only masked: add a `pii` rail"
        sheet.fault(["rails"], "a policy for children has no `judge` without a rail that masks", hint, key=True)
    if sheet.raw.get("mode") == "shadow":
        message = "a policy for children is never in shadow as a whole"
        sheet.fault(["mode"], message, "a policy that only observes is `audience: adult`")
    for number, entry in _entries(sheet):
        if entry.get("rail") in ("crisis", "stop") and entry.get("mode", "enforce") in ("shadow", "off"):
            message = f"`{entry['rail']}` is always enforced in a policy for children"
            sheet.fault(["rails", number, "mode"], message, "write `mode: enforce`, or leave it out")


def _masks(kind: object) -> bool:
    return kind in rails.names() and getattr(rails.load(str(kind)).Rail, "masks", False)


def _spoken(sheet: Sheet) -> list[str]:
    languages = sheet.raw.get("languages")
    return [language for language in languages if isinstance(language, str)] if isinstance(languages, list) else []
