"""The nouns of a game: what is remembered of it, what a message comes to, and what a sentence gets wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

Game = dict[str, Any]  # numbers and words of the house alone, as JSON keeps them


@dataclass(frozen=True, slots=True)
class Move:
    """What a message of the child's comes to. `note` is a key under `steer` without its `game_`."""

    game: Game
    note: str = ""  # for the model
    fill: Mapping[str, str] = field(default_factory=dict)
    why: str = ""
    silent: bool = False  # the message had nothing to do with the game


@dataclass(frozen=True, slots=True)
class Told:
    """What is to be said about a sentence of an answer. `line` empty: it is left out."""

    line: str
    why: str
    fill: Mapping[str, str] = field(default_factory=dict)
    keeps: bool = False  # the sentence is right, and stands behind the line
    ends: bool = False  # nothing follows the line
    game: Game | None = None  # as it is remembered from now on


@dataclass(frozen=True, slots=True)
class Passed:
    """A sentence of an answer that is right. `hint`: it says what the answer must say."""

    hint: bool = False
    game: Game | None = None


def pick(turn: str, choices: Sequence[Any]) -> Any:
    """One of the choices: always the same in the same turn, and spread evenly over turns."""
    digest = blake2b(turn.encode(), digest_size=8, person=b"kindrail-game").digest()
    return choices[int.from_bytes(digest, "big") % len(choices)]
