"""Writes the model card, `docs/learned.md`: what the shipped networks get right on sentences that nobody trained on.

A wrong answer to one of the frozen sentences is no reason to write it into the training data: its kind is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from proxy.policy.load import load_policy
from proxy.turn import plain
from rails._learned.model import Model
from training.bars import behind, score, trips
from training.calm import table
from training.data import APART, FROZEN, HERE, KINDS, LANGUAGES, PRIVATE, WEIGHTS, Line, lines, to_learn

_CARD = HERE.parent / "docs" / "learned.md"
_TEXT = HERE / "card.md"  # what stands around the figures
_ASKED = {"stop": (0.88, 0.03), "asks": (0.88, 0.03), "risky": (0.80, 0.04), "crisis": (0.88, 0.04)}


def main() -> None:
    model, frozen = Model(WEIGHTS), lines(FROZEN)
    known = lines(HERE / "data")
    parts = {
        "trained": _trained(to_learn(known, frozen)),
        "scores": _scores(model, frozen),
        "behind": _behind(model, frozen),
        "kinds": _by_kind(model, frozen),
        "private": _private(model, frozen),
        "ordinary": _ordinary(model, frozen),
        "calm": table(load_policy(HERE.parent / "policies" / "kids-buddy.yaml")),
    }
    text = _TEXT.read_text("utf-8")
    for name, part in parts.items():
        text = text.replace(f"<!-- {name} -->", "\n".join(part))
    _CARD.write_text(text, "utf-8")
    print(text)


def _trained(known: Sequence[Line]) -> Iterator[str]:
    yield "| task | en | it | ko | hands |"
    yield "|---|---|---|---|---|"
    for task in (*KINDS, "pii"):
        mine = [line for line in known if line.task == task]
        counts = [str(sum(line.language == language for line in mine)) for language in LANGUAGES]
        yield f"| {task} | {' | '.join(counts)} | {len({line.author for line in mine})} |"


def _scores(model: Model, frozen: Sequence[Line]) -> Iterator[str]:
    yield "| question | language | acts | acts or notes | false: acts | false: acts or notes | asked for |"
    yield "|---|---|---|---|---|---|---|"
    for head in KINDS:
        for language in LANGUAGES:
            mine = [line for line in frozen if line.task == head and line.language == language]
            sure = {line.place: _tripped(model, head, line) for line in mine}
            noted = {line.place: score(model, head, line) >= model.bar(head, language).maybe for line in mine}
            there, none = [line for line in mine if trips(head, line)], [line for line in mine if line.kind == 0]
            shares = [f"{_share(of, by):.2f}" for of in (there, none) for by in (sure, noted)]
            asked = "{:.2f} at {:.2f}".format(*_ASKED[head]) if head in _ASKED else ""
            yield f"| {head} | {language} | {' | '.join(shares)} | {asked} |"


def _behind(model: Model, frozen: Sequence[Line]) -> Iterator[str]:
    yield "| question | acts, alone | acts, behind a turn | false, alone | false, behind a turn |"
    yield "|---|---|---|---|---|"
    for head in KINDS:
        mine = [line for line in frozen if line.task == head and not line.before]
        there, none = [line for line in mine if trips(head, line)], [line for line in mine if line.kind == 0]
        ways = [{line.place: _tripped(model, head, way(line)) for line in mine} for way in (_alone, behind)]
        yield f"| {head} | {' | '.join(f'{_share(of, by):.2f}' for of in (there, none) for by in ways)} |"


def _alone(line: Line) -> Line:
    return line


def _by_kind(model: Model, frozen: Sequence[Line]) -> Iterator[str]:
    yield "| question | kind | en | it | ko | sentences |"
    yield "|---|---|---|---|---|---|"
    for head, kinds in KINDS.items():
        for number, kind in enumerate(kinds):
            mine = [line for line in frozen if line.task == head and line.kind == number]
            if number and mine and kind not in APART.get(head, ()):
                tripped = {line.place: _tripped(model, head, line) for line in mine}
                shares = [
                    _share([line for line in mine if line.language == language], tripped) for language in LANGUAGES
                ]
                yield f"| {head} | {kind} | {' | '.join(f'{share:.2f}' for share in shares)} | {len(mine)} |"


def _private(model: Model, frozen: Sequence[Line]) -> Iterator[str]:
    yield "| language | characters covered | clean sentences touched | weakest kinds |"
    yield "|---|---|---|---|"
    for language in LANGUAGES:
        mine = [line for line in frozen if line.task == "pii" and line.language == language]
        seen = [(line, covered(model, line)) for line in mine]
        marked = [(kind, spot, spot in on) for line, on in seen for kind, spot in _spots(line)]
        clean = [bool(on) for line, on in seen if not line.marks]
        touched = sum(clean) / max(1, len(clean))
        kinds = sorted({kind for kind, _, _ in marked}, key=lambda kind: _covered(marked, kind))
        worst = ", ".join(f"{PRIVATE[kind].lower()} {_covered(marked, kind):.2f}" for kind in kinds[:3])
        yield f"| {language} | {_covered(marked):.2f} | {touched:.3f} | {worst} |"


def _ordinary(model: Model, frozen: Sequence[Line]) -> Iterator[str]:
    yield "| language | sentences | taken for a crisis | taken for an ending |"
    yield "|---|---|---|---|"
    for language in LANGUAGES:
        mine = [line for line in frozen if line.task == "ordinary" and line.language == language]
        alarms = [sum(_tripped(model, head, line) for line in mine) for head in ("crisis", "stop")]
        yield f"| {language} | {len(mine)} | {alarms[0]} | {alarms[1]} |"


def covered(model: Model, line: Line) -> set[int]:
    """The characters that the tags cover, at the shipped bar."""
    bar = model.bar("private", line.language).alone
    reads = model.reads(plain(line.text), plain(line.before), "user", {})
    private = [word for read in reads for word, row in zip(read.words, read.tags, strict=True) if 1 - row[0] >= bar]
    return {spot for start, end, _ in private for spot in range(start, end)}


def _spots(line: Line) -> Iterator[tuple[int, int]]:
    for start, end, kind in line.marks or ():
        yield from ((kind, spot) for spot in range(start, end) if not line.text[spot].isspace())


def _covered(marked: Sequence[tuple[int, int, bool]], only: int | None = None) -> float:
    mine = [on for kind, _, on in marked if only in (None, kind)]
    return sum(mine) / max(1, len(mine))


def _tripped(model: Model, head: str, line: Line) -> bool:
    return score(model, head, line) >= model.bar(head, line.language).alone


def _share(asked: Sequence[Line], tripped: Mapping[str, bool]) -> float:
    return sum(tripped[line.place] for line in asked) / max(1, len(asked))


if __name__ == "__main__":
    main()
