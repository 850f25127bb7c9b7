"""All games at one table: which one the child begins, how it goes on, and what is to be said of a sentence in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from proxy.turn import Plain, Turn, is_question
from rails._game import hidden, number, riddle
from rails._game.play import Game, Move, Passed, Told
from rails._game.words import GATE, says

_OURS = frozenset({"number", "riddle", "twenty"})  # the house keeps the secret


@dataclass(frozen=True, slots=True)
class Table:
    """What a message finds: the turn, the game that goes on, riddles told lately, features that no secret may have."""

    turn: Turn
    game: Game | None
    told: tuple[str, ...]
    avoid: Collection[str]
    past: bool
    patience: int  # messages in a row that may have nothing to do with the game

    def move(self, text: Plain) -> Move:
        """What the message comes to: a game that begins, goes on, or is over (an empty one)."""
        begun = self._begun(text) if GATE.opens(text) else None
        if begun or not self.game:
            return begun or Move({})
        if says("something_else", text) or says("no_guessing", text):
            return Move({})
        if self.game.get("over"):  # just after a game
            return self._again(self.game) if says("again", text) else Move({})
        move = self._heard(self.game, text)
        silent = self.game.get("silent", 0) + 1 if move.silent else 0
        return Move({}) if silent >= self.patience else replace(move, game={**move.game, "silent": silent})

    def _begun(self, text: Plain) -> Move | None:
        """The game that the child begins. What was asked for stays as it is: "is it an animal?" begins nothing."""
        if says("child_number", text):
            return hidden.opened(hidden.begin(*number.bounds(text)))
        if says("child_riddle", text):
            return Move({"kind": "asked", "turns": 0}, "asked", why="the child has a riddle")
        if says("buddy_number", text):
            return number.opened(number.begin(self.turn.id, *number.bounds(text), self.past))
        if says("twenty", text):
            return self._riddle("twenty", "animal" if riddle.about_animals(text) else "")
        return self._riddle("riddle") if says("buddy_riddle", text) else None

    def _riddle(self, kind: str, of: str = "") -> Move:
        if not self.past:
            game = riddle.begin(kind, self.turn.id, self.told, self.avoid, of)
            return riddle.opened(game, self.turn.language)
        answers = [heard.text for heard in self.turn.history if heard.role == "assistant"]
        return Move(riddle.rebuilt(kind, answers) or {})

    def _again(self, game: Game) -> Move:
        if game["kind"] == "number":
            return number.opened(number.begin(self.turn.id, game["low"], game["high"], self.past))
        if game["kind"] == "hidden":
            return hidden.opened(hidden.begin(game["from"], game["to"]))
        return self._riddle(game["kind"])

    def _heard(self, game: Game, text: Plain) -> Move:
        if game["kind"] == "number":
            if not game["secret"] and not self.past:
                said = [heard.text for heard in self.turn.history]
                game = number.rebuilt(game, self.turn.id, pairwise(said))
            return number.hear(game, text)
        if game["kind"] == "hidden":
            return hidden.hear(game, text)
        if game["kind"] == "asked":
            return Move(game, "asked", why="the child has a riddle", silent=True)
        return riddle.hear(game, text, self.turn.language)


def offered(text: Plain, turn: Turn) -> Game | None:
    """The game that the buddy itself begins in a sentence of an answer."""
    if not GATE.opens(text) or not says("offers", text):
        return None
    return number.begin(turn.id, *number.bounds(text))


def judge(game: Mapping[str, Any], text: Plain, language: str, due: bool, told: bool) -> Told | Passed:
    """What is to be said of a sentence of an answer.

    due: what the answer must say can wait no longer. told: a sentence before this one has said it.
    """
    kind, known = game["kind"], dict(game)
    found: Told | Passed = Passed()
    if kind == "number":
        found = number.judge(known, text)
    elif kind == "hidden" and not known.get("over"):
        found = hidden.judge(known, text, is_question(text.text))
    elif kind in _OURS:
        found = riddle.judge(known, text, language, due, told)
    if isinstance(found, Told) or not due or told or found.hint:
        return found
    return _missing(known, language) or found


def _missing(game: Game, language: str) -> Told | None:
    """The line that an answer still owes."""
    if game["kind"] == "number":
        return number.missing(game)
    return riddle.missing(game, language) if game["kind"] in _OURS else None
