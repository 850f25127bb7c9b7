"""What a parent or a teacher asks for ("we sit in the car", "no monsters"): heard once, held for the session."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxy.turn import Phrases, Plain, plain
from rails._game.words import Gate, listed, read

_NOTHING = Phrases({})
_SENTENCE = re.compile(r"[.!?\n]+")
_MADE_UP = re.compile(r"\bpretend|\bfinta\b|\bthe story\b|\bstoria\b|흉내|놀이", re.IGNORECASE)
_OUTSIDE_PLAY = re.compile(r"\bno\b|\bniente\b|\bsenza\b|말고|안 돼|싫", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Constraint:
    """One thing that may be asked for. `invites`: an answer that draws into it; `words`: one that speaks of it."""

    set: Phrases
    lifts: Phrases
    invites: re.Pattern[str] | None
    korean: Phrases
    words: Phrases
    fine: Phrases

    def broken(self, text: Plain) -> bool:
        """Whether a sentence of an answer breaks it."""
        found = (
            self.words.find(text) is not None
            or (self.invites is not None and self.invites.search(text.text) is not None)
            or self.korean.find(text) is not None
        )
        return found and self.fine.find(text) is None


def _any(words: Sequence[str]) -> str:
    return "|".join(re.escape(word).replace(r"\ ", r"\s+") for word in sorted(words, key=len, reverse=True))


def _inviting(acts: Mapping[str, list[str]], invites: Mapping[str, list[str]]) -> re.Pattern[str]:
    """An act at the beginning of a clause, or behind a word that invites to it."""
    clause = r"(?:^|[.!?:;…\n-])[\s\"'«“]*(?:(?:ok|okay|now|then|and|so|ora|adesso|allora|dai),?\s+)?"
    either = [
        rf"(?:{clause}|\b(?:{_any(invites[language])})\s+(?:(?:all|both|together|just|also|tutti|anche)\s+)?)"
        rf"(?:{_any(acts[language])})\b"
        for language in invites
    ]
    return re.compile("|".join(either), re.IGNORECASE)


def _constraint(entry: Mapping[str, Any], invites: Mapping[str, list[str]]) -> Constraint:
    acts = entry.get("acts")
    return Constraint(
        set=listed(entry["set"]),
        lifts=listed(entry["lifts"]),
        invites=_inviting(acts, invites) if acts else None,
        korean=Phrases({"ko": acts["ko"]}) if acts else _NOTHING,
        words=listed(entry["words"]) if "words" in entry else _NOTHING,
        fine=listed(entry["fine"]) if "fine" in entry else _NOTHING,
    )


_FILE = read("constraints")
_GATE = Gate(_FILE.pop("gate"))
_INVITES = _FILE.pop("invites")
CONSTRAINTS: Mapping[str, Constraint] = {name: _constraint(entry, _INVITES) for name, entry in _FILE.items()}


def asked(text: Plain, held: Sequence[str]) -> list[str]:
    """The constraints that hold after this text. held: those before it. What is said in play asks for nothing."""
    if not _GATE.opens(text):
        return list(held)
    for sentence in _SENTENCE.split(text.text):
        held = _asked(plain(sentence), held)
    return list(held)


def _asked(text: Plain, held: Sequence[str]) -> Sequence[str]:
    if _MADE_UP.search(text.text) and not _OUTSIDE_PLAY.search(text.text):
        return held
    return [
        name for name, one in CONSTRAINTS.items() if one.set.find(text) or (name in held and not one.lifts.find(text))
    ]


def broken(text: Plain, held: Collection[str]) -> str:
    """The first of the constraints that a sentence of an answer breaks, or nothing."""
    return next((name for name in CONSTRAINTS if name in held and CONSTRAINTS[name].broken(text)), "")
