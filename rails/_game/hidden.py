"""Guess the number the other way: the child keeps one, the buddy guesses. It heeds what the child has said."""

from __future__ import annotations

from proxy.turn import Plain
from rails._game.numbers import numbers
from rails._game.play import Game, Move, Passed, Told
from rails._game.words import NO, YES, says

_SHORT = 24  # characters: a sentence that is hardly more than a number is a guess


def begin(low: int, high: int) -> Game:
    """A game in which the child keeps a number of these. `last` is the buddy's last guess."""
    return {"kind": "hidden", "low": low, "high": high, "from": low, "to": high, "asked": [], "last": None, "turns": 0}


def opened(game: Game) -> Move:
    """The first turn of a game."""
    return Move(game, "hidden_guess", _fill(game), "a guessing game began: the child keeps the number")


def hear(game: Game, text: Plain) -> Move:
    """What the child says of the buddy's guess."""
    game = {**game, "turns": game["turns"] + 1}
    last = game["last"]
    higher, lower = says("higher", text), says("lower", text)
    if last is None or (higher and lower):
        return Move(game, "hidden_guess", _fill(game), "the child keeps a number", silent=True)
    if higher or lower:
        game["low" if higher else "high"] = last + 1 if higher else last - 1
    elif NO.search(text.text) or says("wrong", text):
        pass  # it is among those asked
    elif YES.search(text.text) or says("right", text):
        return Move({**game, "over": True}, "hidden_right", {"guess": str(last)}, "the child's number was guessed")
    else:
        return Move(game, "hidden_guess", _fill(game), "the child keeps a number", silent=True)
    if _next(game) is None:
        game |= {"low": game["from"], "high": game["to"], "asked": [], "last": None}
        return Move(game, "hidden_muddled", _fill(game), "what the child has said leaves no number: it starts anew")
    return Move(game, "hidden_guess", _fill(game), "the child keeps a number, and has given a hint")


def judge(game: Game, text: Plain, question: bool) -> Told | Passed:
    """Whether a guess of the buddy's is one that can still be right."""
    values = {number.value for number in numbers(text.text)}
    if len(values) != 1 or not (question or says("guesses", text) or len(text.text.strip()) <= _SHORT):
        return Passed()
    (value,) = values
    if says("higher", text) or says("lower", text):
        return Passed()  # "is it bigger than five?"
    if game["low"] <= value <= game["high"] and value not in game["asked"]:
        return Passed(hint=True, game=_asked(game, value))
    guess = _next(game)
    if guess is None:
        return Passed()
    return Told("hidden_guess", "a guess that cannot be right any more", {"next": str(guess)}, game=_asked(game, guess))


def _asked(game: Game, value: int) -> Game:
    return {**game, "asked": [*game["asked"], value], "last": value}


def _next(game: Game) -> int | None:
    """The number in the middle that has not been asked yet."""
    middle = (game["low"] + game["high"]) // 2
    left = [n for n in range(game["low"], game["high"] + 1) if n not in game["asked"]]
    return min(left, key=lambda n: abs(n - middle), default=None)


def _fill(game: Game) -> dict[str, str]:
    return {"low": str(game["low"]), "high": str(game["high"]), "next": str(_next(game))}
