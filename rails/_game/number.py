"""Guess the number: the buddy keeps one, the child guesses. What the buddy says of a guess must be true."""

from __future__ import annotations

import re
from collections.abc import Iterable

from proxy.turn import Plain, plain
from rails._game.numbers import Number, numbers
from rails._game.play import Game, Move, Passed, Told, pick
from rails._game.words import says

_LOWEST, _HIGHEST = 1, 10  # where the child says nothing else: as far as small children count
_MOST = 1000
_UP_TO = re.compile(  # one number is the highest
    r"up to|until|till|fino a|까지|이하|\b(?:from|between) one\b|\b(?:da|tra|fra) uno\b", re.IGNORECASE
)
_STANDS_ALONE = re.compile(r"\s*(?:$|[^\w\s]|(?:이야|야|이에요|예요|입니다|이다|이지|지|이었어|였어)(?![가-힣]))")
_NAMED = re.compile(  # what may follow a guess; behind "3 cats" there is none
    r"\s*(?:(?:please|maybe|then|is|your|the|right|correct|again|now|ok|okay|per|forse|è|il|giusto|magari|vero|allora)\b"
    r"|이|야|인|일|예|요|맞|같|정답|네|니|숫자|번)",
    re.IGNORECASE,
)
_NEGATED = re.compile(r"\b(?:not|isn't|wasn't|non)\b|아니", re.IGNORECASE)


def limits(text: Plain) -> tuple[int, int] | None:
    """The lowest and the highest number of a game, where the text says them: "from 1 to 20", "fino a 50"."""
    found = sorted({number.value for number in numbers(text.text) if number.value <= _MOST})
    if len(found) == 2 and found[0] + 1 < found[1]:
        return found[0], found[1]
    if len(found) == 1 and found[0] > _LOWEST + 1 and _UP_TO.search(text.text):
        return _LOWEST, found[0]
    return None


def begin(turn: str, low: int, high: int, past: bool = False) -> Game:
    """A game in which the buddy keeps a number of these. past: it began before; which one, is not known any more."""
    secret = 0 if past else pick(turn, range(low, high + 1))
    return {"kind": "number", "low": low, "high": high, "secret": secret, "guesses": [], "turns": 0}


def rebuilt(game: Game, turn: str, said: Iterable[tuple[str, str]]) -> Game:
    """The game of a transcript whose memory was lost, with a number that agrees with what the buddy has said.

    said: the child's messages with the answers to them.
    """
    low, high = game["low"], game["high"]
    for child, buddy in said:
        guess, answer = _guess(game, plain(child)), plain(buddy)
        higher, lower = says("higher", answer), says("lower", answer)
        if guess is not None and higher != lower:
            low, high = (max(low, guess + 1), high) if higher else (low, min(high, guess - 1))
    return {**game, "secret": pick(turn, range(low, high + 1)) if low <= high else game["low"]}


def bounds(text: Plain) -> tuple[int, int]:
    """`limits`, or those of a small child."""
    return limits(text) or (_LOWEST, _HIGHEST)


def opened(game: Game) -> Move:
    """The first turn of a game."""
    return Move(game, "number_open", _fill(game), "a guessing game began: the house keeps the number")


def hear(game: Game, text: Plain) -> Move:
    """What the child says while the buddy keeps the number."""
    game = {**game, "turns": game["turns"] + 1, "guess": None, "result": ""}
    if says("gives_up", text):
        game |= {"result": "told", "over": True}
        return Move(game, "number_told", _fill(game), "the child gives up: the number may be told")
    guess = _guess(game, text)
    if guess is None:
        return Move(game, "number_wait", _fill(game), "a guessing game goes on without a guess", silent=True)
    asks = says("higher", text) or says("lower", text)  # "is it bigger than five?" is no guess
    game |= {"guess": guess, "guesses": [*game["guesses"], guess][-20:]}
    if guess == game["secret"] and not asks:
        game |= {"result": "right", "over": True}
    elif guess == game["secret"]:
        return Move({**game, "guess": None}, "number_wait", _fill(game), "the child asks about the number itself")
    else:
        game["result"] = "higher" if guess < game["secret"] else "lower"
    return Move(game, f"number_{game['result']}", _fill(game), f"a guess: {game['result']}")


def judge(game: Game, text: Plain) -> Told | Passed:
    """Whether a sentence of the answer is true in the game."""
    found, result = numbers(text.text), game.get("result", "")
    values = {number.value for number in found}
    if not game["turns"] and len(values) == 2 and values != {game["low"], game["high"]} and says("offers", text):
        return Told("number_open", "other limits than those of the game", _fill(game))
    if result == "told":
        tells = says("reveals", text) or (_alone(text, found) and not values & {*game["guesses"]})
        other = len(values) == 1 and game["secret"] not in values and tells
        return _wrong(game, "another number than the one kept") if other else Passed(hint=game["secret"] in values)
    if result != "right" and _tells(game, text, found):
        return _wrong(game, "the number was told, or changed, before it was guessed")
    if not result or says("doubt", text):
        return Passed()
    return _hint(game, text)


def missing(game: Game) -> Told | None:
    """The line that an answer still owes."""
    if not game.get("result"):
        return None
    line = f"number_{game['result']}"
    return Told(line, "the answer does not say what came of the guess", _fill(game), keeps=True)


def _guess(game: Game, text: Plain) -> int | None:
    """The one number that the child names; of several the one that is not denied is unsure, and none counts."""
    found = numbers(text.text)
    if len({number.value for number in found}) != 1 or _NEGATED.search(text.text):
        return None
    named = any(_STANDS_ALONE.match(text.text, one.end) or _NAMED.match(text.text, one.end) for one in found)
    return found[0].value if named and found[0].value <= _MOST else None


def _hint(game: Game, text: Plain) -> Told | Passed:
    higher, lower = says("higher", text), says("lower", text)
    right, wrong = says("right", text), says("wrong", text)
    result = game["result"]
    if result == "right":
        return _wrong(game, "a right guess was refused") if (higher or lower or wrong) and not right else Passed(right)
    if higher and lower:
        return Passed()
    if (higher, lower) == ((True, False) if result == "lower" else (False, True)):
        return _wrong(game, "a hint in the wrong direction")
    if higher or lower:
        return Passed(hint=True)
    return _wrong(game, "a wrong guess was called right") if right and not wrong else Passed()


def _tells(game: Game, text: Plain, found: list[Number]) -> bool:
    """Whether the sentence tells the number: as such, or as a number that stands alone and was not guessed."""
    values = {number.value for number in found}
    if len(values) != 1:
        return False
    (value,) = values
    if says("reveals", text) and value != game.get("guess") and not says("higher", text) and not says("lower", text):
        return not _NEGATED.search(text.text)
    return value == game["secret"] and value not in game["guesses"] and _alone(text, found)


def _alone(text: Plain, found: list[Number]) -> bool:
    """Whether a number names nothing that it counts: behind it the sentence pauses or ends."""
    return any(_STANDS_ALONE.match(text.text, number.end) for number in found)


def _wrong(game: Game, why: str) -> Told:
    return Told(f"number_{game.get('result') or 'secret'}", why, _fill(game))


def _fill(game: Game) -> dict[str, str]:
    named = ("low", "high", "secret", "guess")
    return {name: str(game[name]) for name in named if game.get(name) is not None}
