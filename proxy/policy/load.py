"""From a policy file to a `Policy` that runs: read, merged with what it extends, checked, its rails built."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import get_args

import yaml

import rails
from proxy.phrases import Phrases
from proxy.policy.check import examine
from proxy.policy.faults import Fault, PolicyError, nearest
from proxy.policy.marks import compose, extend, fault, place, repeats
from proxy.policy.model import Bound, Example, Expectation, Policy
from proxy.policy.schema import Entry, Generation, Parts, PolicyFile
from proxy.policy.typed import Sheet
from proxy.turn import House, Options

_TOP_KEY = re.compile(r"^([\w-]+)\s*:", re.MULTILINE)


def load_folder(folder: Path) -> dict[str, Policy]:
    """Every policy of a folder (`*.yaml`, no subfolders) by name. Raises `PolicyError` with all faults, `OSError`."""
    policies: dict[str, Policy] = {}
    faults: list[Fault] = []
    for path in policy_files(folder):
        try:
            policies[path.stem] = load_policy(path)
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


def load_policy(path: Path) -> Policy:
    """The policy of one file. Raises `PolicyError` with everything wrong with it, `OSError` where it cannot be read."""
    sources: list[bytes] = []
    faults: list[Fault] = []
    sheet = Sheet(_read(path, (), sources, faults), faults)
    file, options = examine(sheet, path.stem)
    if sheet.faults or file is None:
        raise PolicyError(sheet.faults)
    typed_options = [one for one in options if one is not None]
    bound = _bind(sheet, file, typed_options, path.parent)
    sources += [named.read_bytes() for one in typed_options for named in _named_files(one, path.parent)]
    return _policy(file, bound, path, _digest(sources))


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


def _bind(sheet: Sheet, file: PolicyFile, options: Sequence[Options], folder: Path) -> tuple[Bound, ...]:
    """The rails, built. One that is off is left out, unless it masks what is stored."""
    phrases = {name: Phrases(_only(file, one.words), _only(file, one.but_not)) for name, one in file.phrases.items()}
    house = House(tuple(file.languages), phrases, folder)
    bound: list[Bound] = []
    for number, (entry, chosen) in enumerate(zip(file.rails, options, strict=True)):
        if entry.mode == "off" and not getattr(rails.load(entry.rail).Rail, "masks", False):
            continue
        try:
            bound.append(_bound(file, entry, chosen, house, tuple(_examples(sheet, number, entry))))
        except ValueError as error:
            sheet.fault(["rails", number], f"the rail `{entry.id}` cannot start: {error}")
    if sheet.faults:
        raise PolicyError(sheet.faults)
    return tuple(bound)


def _bound(file: PolicyFile, entry: Entry, options: Options, house: House, examples: tuple[Example, ...]) -> Bound:
    kind = rails.load(entry.rail).Rail
    mode = "shadow" if file.mode == "shadow" and entry.mode == "enforce" else entry.mode
    key = f"{entry.id}:shadow" if mode == "shadow" else entry.id
    return Bound(
        id=entry.id,
        kind=entry.rail,
        key=key,
        mode=mode,
        why=entry.why,
        rail=kind(key, options, house),
        masks=getattr(kind, "masks", False),
        content=kind.content,
        shape=kind.shape,
        examples=examples,
    )


def _examples(sheet: Sheet, number: int, entry: Entry) -> Iterator[Example]:
    for expects in get_args(Expectation):
        for position, case in enumerate(getattr(entry.tests, expects)):
            mark = place(sheet.root, ["rails", number, "tests", expects, position])
            where = f"{mark.name}:{mark.line + 1}"
            if case.assistant:
                yield Example(expects, "assistant", case.assistant, case.user, case.lang, case.becomes, where)
            else:
                yield Example(expects, "user", case.user, "", case.lang, case.becomes, where)


def _policy(file: PolicyFile, bound: tuple[Bound, ...], path: Path, digest: str) -> Policy:
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
        say=_frozen(file.say),
        steer=_frozen(file.steer),
        stand_ins=file.stand_ins,
        rails=bound,
        keep=file.keep,
    )


def _only(file: PolicyFile, words: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The phrases of the policy's languages: a policy may have fewer than the one it extends."""
    return {language: phrases for language, phrases in words.items() if language in file.languages}


def _frozen(lines: Mapping[str, Mapping[str, list[str]]]) -> dict[str, dict[str, tuple[str, ...]]]:
    return {key: {language: tuple(variants) for language, variants in entry.items()} for key, entry in lines.items()}


def _named_files(options: Options, folder: Path) -> Iterator[Path]:
    """The files that text options name, beside the policy: a change of one is a change of the policy."""
    for value in options.model_dump().values():
        if isinstance(value, str) and Path(value).suffix and (folder / value).is_file():
            yield folder / value


def _digest(sources: Sequence[bytes]) -> str:
    """Of the digests, so that moving text from one file to the next is a change too."""
    return hashlib.sha256(b"".join(hashlib.sha256(source).digest() for source in sources)).hexdigest()
