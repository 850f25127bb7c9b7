"""Sets the bars: how sure the networks must be, for each question and language.

Measured on sentences of authors `v...`, who wrote no training line: the lowest bar that at most the wanted share of the
hard negatives reaches, and at most the wanted share of plain talk. An answer is judged as it streams, so it counts as
often as it has sentences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import orjson

from proxy.turn import plain
from rails._learned.model import Model
from rails._sense import ANY_DAY
from training.data import APART, HERE, KINDS, LANGUAGES, OF_USER, PRIVATE, WEIGHTS, Line, lines, sentences

# Shares of hard negatives that may trip, of messages of plain talk, and of those with what is said at once (a line of
# the house, an alert). What is below that bar and above the others is only a note to the model.
WANTED: Mapping[str, tuple[float, float, float]] = {
    "stop": (0.03, 0.008, 0.003), "crisis": (0.04, 0.015, 0.002), "childrisk": (0.04, 0.01, 0.005),
    "unsafe": (0.04, 0.01, 0.003), "risky": (0.04, 0.011, 0.011), "asks": (0.03, 0.009, 0.009),
    "persona": (0.03, 0.003, 0.003), "private": (0.03, 0.006, 0.006), "private of answers": (0.03, 0.003, 0.003),
}  # fmt: skip
_UNTRIED = 0.7  # where nobody has written sentences to set it by
_HINTED = {
    "crisis": 0.05,
    "stop": 0.25,
}  # where a list has a hit, little more is asked; elsewhere:
_HINTED_ELSE = 0.15


def main() -> None:
    known = [line for line in lines(HERE / "data") if line.author.startswith("v")]
    kept = {"kinds": KINDS, "private": PRIVATE, "bars": {}}
    _write(kept)
    model = Model(WEIGHTS)
    for head in (*KINDS, "private", "private of answers"):
        hinted = _HINTED.get(head, _HINTED_ELSE)
        kept["bars"][head] = {
            language: {**_bars(model, head, language, known), "hinted": hinted} for language in LANGUAGES
        }
    _write(kept)
    print(orjson.dumps(kept["bars"], option=orjson.OPT_INDENT_2).decode())


def score(model: Model, head: str, line: Line) -> float:
    """How sure the networks are that it trips."""
    side = "user" if head in OF_USER else "assistant"
    told, _ = model.told(head, plain(line.text), plain(line.before), side, {})
    return float(
        sum(told[number] for number, kind in enumerate(KINDS[head]) if number and kind not in APART.get(head, ()))
    )


def trips(head: str, line: Line) -> bool:
    """Whether it should."""
    return line.kind > 0 and KINDS[head][line.kind] not in APART.get(head, ())


def _bars(model: Model, head: str, language: str, known: Sequence[Line]) -> dict[str, float]:
    """For hard negatives the mean of its language's and of all of them: a hundred sentences alone tell little."""
    hard, easy, at_once = WANTED[head]
    task = "pii" if head.startswith("private") else head
    mine = [line for line in known if line.task == task and line.kind == 0 and not line.marks]
    talk = ("said", "ordinary") if head in OF_USER or head == "private" else ("answered",)
    own = [highest(model, head, line) for line in mine if line.language == language]
    all_of = [highest(model, head, line) for line in mine]
    calm = [highest(model, head, line) for line in known if line.task in talk]
    logits = [math.log(bar / (1 - bar)) for bar in (_at(own, hard), _at(all_of, hard))]
    maybe = max(1 / (1 + math.exp(-sum(logits) / 2)), _at(calm, easy), 0.3)
    return {"maybe": round(maybe, 4), "alone": round(max(maybe, _at(calm, at_once)), 4)}


def highest(model: Model, head: str, line: Line) -> float:
    """The score of a message, alone or behind a turn; of an answer, of what was said by the end of any sentence."""
    if line.task in OF_USER:
        heard = [line]
    else:
        said = sentences(line.text)
        heard = [replace(line, text="".join(said[: number + 1])) for number in range(len(said))]
    heard += [behind(one) for one in heard if not one.before]
    return max(surest(model, one) if head.startswith("private") else score(model, head, one) for one in heard)


def behind(line: Line) -> Line:
    """The line behind a turn of any day: most were written alone, and few are said so."""
    side = "user" if line.task in OF_USER else "assistant"
    return replace(line, before=ANY_DAY[side][line.language][1])


def _at(scores: Sequence[float], share: float) -> float:
    """The bar that at most this share of the scores reaches."""
    if not scores:
        return _UNTRIED
    falling = sorted(scores, reverse=True)
    return min(0.999, falling[min(len(scores) - 1, int(share * len(scores)))] + 1e-4)


def surest(model: Model, line: Line) -> float:
    """How sure the networks are of the most private word."""
    side = "user" if line.task in OF_USER else "assistant"
    reads = model.reads(plain(line.text), plain(line.before), side, {})
    return max((float((1 - read.tags[:, 0]).max()) for read in reads if read.words), default=0.0)


def _write(kept: Mapping[str, object]) -> None:
    (WEIGHTS / "calibration.json").write_bytes(orjson.dumps(kept, option=orjson.OPT_INDENT_2) + b"\n")


if __name__ == "__main__":
    main()
