"""The rails of a policy, built and acquainted: from checked options to `Bound`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import get_args

import rails
from proxy.faults import PolicyError, listed, nearest
from proxy.phrases import Phrases
from proxy.policy.marks import place
from proxy.policy.model import Bound, Example, Expectation
from proxy.policy.schema import Entry, Help, Lines, PolicyFile
from proxy.policy.typed import Sheet
from proxy.settings import unknown, value
from proxy.turn import HelpLine, House, Options, Rail, Taught


def bind(sheet: Sheet, file: PolicyFile, options: Sequence[Options], folder: Path, code: bool) -> tuple[Bound, ...]:
    """The rails, built. One that is off is left out, unless it masks what is stored. folder: the policy's.

    Raises `PolicyError` with all that they have against their options, their files and each other.
    """
    enforced: dict[str, Rail] = {}
    house = House(
        tuple(file.languages), _phrases(file), folder, frozen(file.say), frozenset(file.steer), enforced, code,
        frozenset(entry.id for entry in file.rails),
        help_lines=tuple(_help_line(one) for one in file.help_lines), country=file.country,
    )  # fmt: skip
    bound: dict[int, Bound] = {}  # by their number in the file
    for number, (entry, chosen) in enumerate(zip(file.rails, options, strict=True)):
        if entry.mode == "off" and not getattr(rails.load(entry.rail).Rail, "masks", False):
            continue
        with _blamed(sheet, number, entry, folder):
            one = bound[number] = _bound(file, entry, chosen, house, tuple(_examples(sheet, number, entry)))
            if one.mode == "enforce":
                enforced.setdefault(one.kind, one.rail)
    brought = (getattr(one.rail, "lines", {}) for one in bound.values())
    for lines in (house.lines, *brought):
        house.own.update(text for entry in lines.values() for variants in entry.values() for text in variants)
    if not sheet.faults:  # a rail that did not start is missed by others
        _settle(sheet, file, bound, folder)
        _known_settings(sheet, file, bound)
        _known_data(sheet, file, bound)
    if sheet.faults:
        raise PolicyError(sheet.faults)
    return tuple(bound.values())


def settings(bound: Iterable[Bound]) -> frozenset[str]:
    """What an app may set for a request: the names that any of the rails looks at."""
    return frozenset(name for one in bound for name in getattr(one.rail, "settings", ()))


def hidden(bound: Iterable[Bound]) -> frozenset[str]:
    """The kinds of data that the rails hide."""
    return frozenset(entity for one in bound for entity in getattr(one.rail, "entities", ()))


def frozen(lines: Lines) -> dict[str, dict[str, tuple[str, ...]]]:
    """Lines of the file as the house keeps them."""
    return {key: {language: tuple(variants) for language, variants in entry.items()} for key, entry in lines.items()}


def _phrases(file: PolicyFile) -> dict[str, Phrases]:
    return {name: Phrases(_only(file, one.words), _only(file, one.but_not)) for name, one in file.phrases.items()}


def _help_line(one: Help) -> HelpLine:
    return HelpLine(one.country, frozenset(one.kinds), one.number, frozenset(one.languages))


def _only(file: PolicyFile, words: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The phrases of the policy's languages: a policy may have fewer than the one it extends."""
    return {language: phrases for language, phrases in words.items() if language in file.languages}


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
        rail=kind(key, options, replace(house, taught=tuple(_taught(examples)))),
        masks=getattr(kind, "masks", False),
        content=kind.content,
        shape=kind.shape,
        examples=examples,
        of_session=getattr(kind, "of_session", False),
    )


def _taught(examples: Iterable[Example]) -> Iterator[Taught]:
    """The examples that hang on nothing but the text and the other side's last turn."""
    for one in examples:
        if one.expects != "known_misses" and not one.earlier and not one.settings:
            where = Path(
                one.where
            ).name  # audits tell it, and the paths of the operator's machine are nobody's business
            yield Taught(one.role, one.text, one.user, one.language, one.expects == "trips", where)


def as_typed(file: str, folder: Path) -> str:
    """A file that a rail names relative to the policy's folder, named as the folder is; any other stays as it is."""
    return str(folder / file) if (folder / file.partition(":")[0]).exists() else file


@contextmanager
def _blamed(sheet: Sheet, number: int, entry: Entry, folder: Path) -> Iterator[None]:
    """What a rail raises becomes faults: in its files, at its options, or at its entry."""
    try:
        yield
    except PolicyError as error:
        for fault in error.faults:
            if fault.option:
                sheet.fault(["rails", number, *fault.option], fault.message, fault.hint)
            else:
                sheet.faults.append(replace(fault, file=as_typed(fault.file, folder)))
    except ValueError as error:
        sheet.fault(["rails", number], f"the rail `{entry.id}` cannot start: {error}")


def _settle(sheet: Sheet, file: PolicyFile, bound: Mapping[int, Bound], folder: Path) -> None:
    """Lets the rails look at each other, now that all are there."""
    for number, one in bound.items():
        if hasattr(one.rail, "settle"):
            with _blamed(sheet, number, file.rails[number], folder):
                one.rail.settle()


def _known_settings(sheet: Sheet, file: PolicyFile, bound: Mapping[int, Bound]) -> None:
    """A test that sets what no rail looks at would prove nothing."""
    known = settings(bound.values())
    for number in bound:
        for expects in get_args(Expectation):
            for position, case in enumerate(getattr(file.rails[number].tests, expects)):
                for name in case.settings.keys() - known:
                    loc = ["rails", number, "tests", expects, position, "settings", name]
                    sheet.fault(loc, f"no rail of this policy has a setting `{name}`", unknown(name, known), key=True)


def _known_data(sheet: Sheet, file: PolicyFile, bound: Mapping[int, Bound]) -> None:
    """What no rail hides would never be given back."""
    known = hidden(bound.values())
    for number, entity in enumerate(file.vault.restore if file.vault else ()):
        if entity not in known:
            hint = nearest(entity, known) or f"they hide {listed(sorted(known), 'and')}"
            sheet.fault(["vault", "restore", number], f"no rail of this policy hides `{entity}`", hint)


def _examples(sheet: Sheet, number: int, entry: Entry) -> Iterator[Example]:
    for expects in get_args(Expectation):
        for position, case in enumerate(getattr(entry.tests, expects)):
            mark = place(sheet.root, ["rails", number, "tests", expects, position])
            yield Example(
                expects=expects,
                role="assistant" if case.assistant else "user",
                text=case.assistant or case.user,
                user=case.user if case.assistant else "",
                language=case.lang,
                becomes=case.becomes,
                where=f"{mark.name}:{mark.line + 1}",
                earlier=tuple(case.earlier),
                settings={name: value(text) for name, text in case.settings.items()},
            )
