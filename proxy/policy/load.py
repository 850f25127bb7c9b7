"""From a policy file to a `Policy` that runs: read, merged with what it extends, checked, its rails built."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from proxy.faults import Fault, PolicyError, nearest
from proxy.policy.bind import as_typed, bind, frozen, hidden, settings
from proxy.policy.check import examine
from proxy.policy.marks import compose, extend, fault, place, repeats
from proxy.policy.model import Bound, Policy
from proxy.policy.schema import Generation, Parts, PolicyFile
from proxy.policy.typed import Sheet
from proxy.turn import Options

_TOP_KEY = re.compile(r"^([\w-]+)\s*:", re.MULTILINE)
_STALE = timedelta(days=180)  # after which a help line is to be checked again


def load_folder(folder: Path, code: bool = False) -> dict[str, Policy]:
    """Every policy of a folder (`*.yaml`, no subfolders) by name. code: they may bring Python of their own.

    Raises `PolicyError` with all faults, `OSError`.
    """
    policies: dict[str, Policy] = {}
    faults: list[Fault] = []
    for path in policy_files(folder):
        try:
            policies[path.stem] = load_policy(path, code)
        except PolicyError as error:
            faults += error.faults
    if faults:
        raise PolicyError(faults)
    return policies


def policy_files(folder: Path) -> list[Path]:
    """The policy files of a folder, sorted. Raises `FileNotFoundError` where there is none.

    Other YAML beside them, such as a list of recognizers, has keys but neither `policy` nor `rails`.
    """
    found = [path for path in sorted(folder.glob("*.yaml")) if _may_be_policy(path)]
    if not found:
        raise FileNotFoundError(f"no policy (*.yaml) in the folder {folder}")
    return found


def _may_be_policy(path: Path) -> bool:
    keys = set(_TOP_KEY.findall(path.read_text("utf-8-sig", errors="replace")))
    return not keys or not keys.isdisjoint(("policy", "rails"))


def load_policy(path: Path, code: bool = False) -> Policy:
    """The policy of one file. code: it may bring Python of its own, which then runs in this process.

    Raises `PolicyError` with everything wrong with it, `OSError` where it cannot be read.
    """
    sources: list[bytes] = []
    faults: list[Fault] = []
    sheet = Sheet(_read(path, (), sources, faults), faults)
    file, options = examine(sheet, path)
    if sheet.faults or file is None:
        raise PolicyError(sheet.faults)
    typed_options = [one for one in options if one is not None]
    beside = list(_beside(typed_options, path.parent))
    bound = bind(sheet, file, typed_options, path.parent, code)
    if beside != list(_beside(typed_options, path.parent)):  # the digest must be that of what runs
        message = "files that this policy names changed while they were read"
        raise PolicyError([Fault(str(path), 1, 1, message, hint="read it again")])
    notes = [*_notes(bound, path.parent), *_stale(sheet, file, datetime.now(UTC).date())]
    return _policy(file, bound, path, _digest([*sources, *beside]), notes)


def _read(path: Path, seen: tuple[str, ...], sources: list[bytes], faults: list[Fault]) -> yaml.MappingNode:
    """The file's tree on top of those it extends. Notes a single file's faults, raises where there is no tree."""
    source = path.read_bytes()
    sources.append(source)
    root = compose(path, source)
    faults += repeats(root)
    parent = next((value for key, value in root.value if key.value == "extends"), None)
    if not isinstance(parent, yaml.ScalarNode):
        return root
    beside = {other.stem: other for other in path.parent.glob("*.yaml")}
    chain = (*seen, path.stem)
    if parent.value in chain:
        faults.append(
            fault(parent.start_mark, f"`extends` goes round in a circle: {', '.join((*chain, parent.value))}")
        )
    elif parent.value not in beside:
        hint = nearest(parent.value, beside.keys() - {path.stem})
        faults.append(fault(parent.start_mark, f"no policy `{parent.value}` beside this one", hint))
    else:
        return extend(_read(beside[parent.value], chain, sources, faults), root)
    raise PolicyError(faults)  # without its parent a policy would seem to lack everything


def _policy(file: PolicyFile, bound: tuple[Bound, ...], path: Path, digest: str, notes: Sequence[Fault]) -> Policy:
    child = file.audience == "child"
    return Policy(
        name=file.policy,
        version=file.version,
        digest=digest,
        file=str(path),
        about=file.about,
        audience=file.audience,
        languages=tuple(file.languages),
        hold=file.hold,
        hold_max=file.hold_max,
        when_broken=file.when_broken,
        late_after=file.late_after,
        blocked_as=file.blocked_as,
        tools=tuple(file.tools) if file.tools is not None else () if child else ("*",),
        reads_reasoning=file.reasoning == "judge" if file.reasoning else not child,
        parts=Parts(image="pass", audio="pass", file="pass") if file.mode == "shadow" else file.parts,
        model=Generation() if file.mode == "shadow" else file.model,  # a policy that only watches changes no setting
        say={**frozen(file.say), **_brought(bound, "lines")},
        steer=frozen(file.steer),
        stand_ins=file.stand_ins,
        rails=bound,
        keep=file.keep,
        places={key: as_typed(place, path.parent) for key, place in _brought(bound, "places").items()},
        notes=tuple(notes),
        settings=settings(bound),
        retry=None if file.mode == "shadow" else file.retry,
        vault=file.vault,
        hides=hidden(bound),
        numbers=tuple(one.number for one in file.help_lines),
    )


def _brought(bound: Iterable[Bound], name: str) -> dict[str, Any]:
    """The lines that rails bring, or their places: one mapping of all rails' mappings of this name."""
    return {key: entry for one in bound for key, entry in getattr(one.rail, name, {}).items()}


def _notes(bound: Iterable[Bound], folder: Path) -> Iterator[Fault]:
    """What the rails tell beside faults, each note once."""
    for note in dict.fromkeys(note for one in bound for note in getattr(one.rail, "notes", ())):
        yield replace(note, file=as_typed(note.file, folder))


def _stale(sheet: Sheet, file: PolicyFile, today: date) -> Iterator[Fault]:
    """A note for each help line that nobody has looked at for long: numbers change."""
    for number, line in enumerate(file.help_lines):
        if today - line.checked > _STALE:
            message = f"the help line {line.number} ({line.name}, {line.country}) was last checked on {line.checked}"
            hint = "make sure that it is still right, and write the day under `checked`"
            yield fault(place(sheet.root, ["help_lines", number, "checked"]), message, hint)


def _beside(options: Sequence[Options], folder: Path) -> Iterator[bytes]:
    """What is in the files and folders that options name: a change of it is a change of the policy."""
    for one in options:
        yield from (named.read_bytes() for named in _named_files(one, folder))
        yield from _folders(one, folder)


def _named_files(options: Options, folder: Path) -> Iterator[Path]:
    """The files that text options name, beside the policy."""
    for named in options.model_dump().values():
        if isinstance(named, str) and Path(named).suffix and (folder / named).is_file():
            yield folder / named


def _folders(options: Options, folder: Path) -> Iterator[bytes]:
    """The files of the folders that options name, each behind its own name, but for caches and what is hidden."""
    for option, info in type(options).model_fields.items():
        named = getattr(options, option)
        if "folder" not in info.metadata or not named:
            continue
        home = folder / named
        for path in sorted(home.rglob("*")):
            inside = path.relative_to(home)
            if path.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in inside.parts):
                yield f"{inside.as_posix()}\0".encode() + path.read_bytes()


def _digest(sources: Sequence[bytes]) -> str:
    """Of the digests, so that moving text from one file to the next is a change too."""
    return hashlib.sha256(b"".join(hashlib.sha256(source).digest() for source in sources)).hexdigest()
