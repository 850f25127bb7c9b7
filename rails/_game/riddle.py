"""Riddles and twenty questions: the house keeps the secret, and what the buddy says of a guess must be true."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxy.turn import Phrases, Plain, is_question
from rails._game.play import Game, Move, Passed, Told, pick
from rails._game.words import NO, YES, listed, read, says

_MOST = 20  # questions
_FEW = 5  # words: a longer message that names the secret may only be chat
_NEGATED = re.compile(r"\b(?:not|isn't|non)\b|아니|말고", re.IGNORECASE)
_OWN = re.compile(r"\b(?:my|our|your|mio|mia|nostr[oa]|tuo|tua)\b|우리|(?<![가-힣])[내네] ", re.IGNORECASE)
_KO_ENDS = (
    r"(?:이야|야|인가요?|이니|니|이에요|예요|이요|요|입니다|이다|다|일까요?|이지|지|은|는|이|가|을|를|들|이구나|구나"
    r"|였어|이었어|맞지|맞아)?"
)
_WORD = re.compile(r"\w+")
_LISTEN = {"en": "Listen carefully.", "it": "Ascolta bene.", "ko": "잘 들어 봐."}
_PREFACE = 60  # characters of a sentence before the riddle, such as "Here is a riddle for you."
_ANIMALS = re.compile(r"\banimals?\b|\banimal[ei]\b|동물", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Secret:
    """One secret of the house, by language; `yes` and `no` are the features of which it is certain."""

    answer: Mapping[str, str]
    riddle: Mapping[str, str]
    yes: frozenset[str]
    no: frozenset[str]
    named: re.Pattern[str]

    def in_(self, text: Plain) -> bool:
        """Whether the text names it."""
        return self.named.search(text.text) is not None


def _secret(entry: Mapping[str, Any]) -> Secret:
    also = entry["also"]
    latin = "|".join(re.escape(word) for language in also if language != "ko" for word in also[language])
    long = "|".join(word for word in also["ko"] if len(word) > 1) or "(?!)"
    one = "|".join(word for word in also["ko"] if len(word) == 1) or "(?!)"  # 비, 배: mostly something else
    edges = r"(?<![가-힣])(?:{}){}(?![가-힣])"
    korean = edges.format(long, _KO_ENDS) + "|" + edges.format(one, _KO_ENDS) + r"\W*$"
    named = re.compile(rf"\b(?:{latin})(?:e?s)?\b|{korean}", re.IGNORECASE)
    return Secret(entry["answer"], entry["riddle"], frozenset(entry["yes"]), frozenset(entry["no"]), named)


SECRETS: Mapping[str, Secret] = {name: _secret(entry) for name, entry in read("riddles").items()}
_FEATURES: Mapping[str, Phrases] = {name: listed(entry) for name, entry in read("features").items()}


def wordings(secret: Secret, language: str) -> list[str]:
    """The riddle as the house asks it, in two ways."""
    words = _in(secret.riddle, language)
    return [words, f"{_in(_LISTEN, language)} {words}"]


def about_animals(text: Plain) -> bool:
    """Whether the child wants the secret to be an animal."""
    return _ANIMALS.search(text.text) is not None


def begin(kind: str, turn: str, told: Sequence[str], avoid: Collection[str], of: str = "") -> Game:
    """A riddle or a game of twenty questions with a secret that was not told lately.

    avoid: features that the secret must not have. of: the feature that it must have.
    """
    allowed = [
        name for name, one in SECRETS.items() if not (one.yes & set(avoid)) and (not of or of in one.yes)
    ]  # never empty: the house has animals
    return {
        "kind": kind,
        "secret": pick(turn, [name for name in allowed if name not in told] or allowed),
        "asked": 0,
        "turns": 0,
    }


def rebuilt(kind: str, answers: Sequence[str]) -> Game | None:
    """The game whose riddle stands in one of the earlier answers, the latest first; None where none does."""
    for answer in reversed(answers):
        for name, one in SECRETS.items():
            if any(riddle in answer for riddle in one.riddle.values()):
                return {"kind": kind, "secret": name, "asked": 0, "turns": 1}
    return None


def opened(game: Game, language: str) -> Move:
    """The first turn of a game."""
    note = f"{game['kind']}_open"
    return Move(game, note, fill(game, language), "a riddle begins: the house keeps the secret")


def _opening(game: Game, text: Plain, language: str, due: bool, told: bool) -> Told | Passed:
    """A riddle is asked in the house's words, so that it is the one whose answer the house keeps."""
    if told or _bare(text.text) in _bare(_in(SECRETS[game["secret"]].riddle, language)):
        return Passed(hint=True)
    if len(text.text) <= _PREFACE and not due and not is_question(text.text):
        return Passed()
    return Told(f"riddle {game['secret']}", "the house asks the riddle whose answer it keeps", ends=True)


def _bare(text: str) -> str:
    return " ".join(_WORD.findall(text.lower()))


def _in(words: Mapping[str, str], language: str) -> str:
    return words.get(language, words["en"])


def hear(game: Game, text: Plain, language: str) -> Move:
    """What the child says while the house keeps the secret."""
    game = {**game, "turns": game["turns"] + 1, "result": ""}
    guess = _guess(game, text)
    if guess:
        game |= {"result": guess, "over": guess == "right"}
    elif says("gives_up", text) or game["asked"] >= _MOST:
        game |= {"result": "told", "over": True}
    else:
        game["result"] = _asked(game, text)
        game["asked"] += bool(game["result"]) or is_question(text.text)
    note = f"riddle_{game['result'] or 'wait'}"
    silent = not game["result"] and not is_question(text.text)
    return Move(game, note, fill(game, language), "a riddle goes on", silent=silent)


def judge(game: Game, text: Plain, language: str, due: bool, told: bool) -> Told | Passed:
    """Whether a sentence of the answer is true in the game. due, told: as at the `table`."""
    if game["kind"] == "riddle" and not game["turns"]:
        return _opening(game, text, language, due, told)
    result, named = game.get("result", ""), SECRETS[game["secret"]].in_(text)
    yes, no = bool(YES.search(text.text)), bool(NO.search(text.text))
    right, wrong = says("right", text), says("wrong", text)
    words = fill(game, language)
    if result == "told":
        return Passed(named)
    if result == "right":
        refused = (no or wrong) and not (right or yes)
        return Told("riddle_right", "a right answer was refused", words) if refused else Passed(named or right or yes)
    if named:
        return Told(f"riddle_{result or 'secret'}", "the answer was told before it was guessed", words)
    if result == "wrong":
        called = (right or yes) and not (wrong or no)
        return Told("riddle_wrong", "a wrong answer was called right", words) if called else Passed(wrong or no)
    if (result, yes, no) in (("yes", False, True), ("no", True, False)):
        return Told(f"riddle_{result}", "a question about the secret was answered wrongly", words)
    return Passed(yes or no)


def missing(game: Game, language: str) -> Told | None:
    """The line that an answer still owes."""
    if not game.get("result"):
        return None
    why = "the answer does not say what came of the guess or the question"
    return Told(f"riddle_{game['result']}", why, fill(game, language), keeps=True)


def fill(game: Game, language: str) -> dict[str, str]:
    """The words of the house's notes and lines."""
    secret, left = SECRETS[game["secret"]], max(0, _MOST - game["asked"])
    return {"answer": _in(secret.answer, language), "riddle": _in(secret.riddle, language), "left": str(left)}


def _guess(game: Game, text: Plain) -> str:
    """`right` or `wrong` where the child names the secret or another one of the house; empty where that is unsure."""
    guessing = len(text.text.split()) <= _FEW or says("guesses", text)
    if not guessing or _NEGATED.search(text.text) or _OWN.search(text.text):
        return ""
    named = [name for name, one in SECRETS.items() if one.in_(text)]
    return "right" if named == [game["secret"]] else "wrong" if len(named) == 1 else ""


def _asked(game: Game, text: Plain) -> str:
    """`yes` or `no` where the child asks about one feature of which the house is certain."""
    found = [name for name, phrases in _FEATURES.items() if phrases.find(text)]
    if len(found) != 1 or _NEGATED.search(text.text):
        return ""
    secret = SECRETS[game["secret"]]
    return "yes" if found[0] in secret.yes else "no" if found[0] in secret.no else ""
