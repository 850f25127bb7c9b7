"""game: the house keeps the score of a game, and what the buddy says in it is true.

Answers the model card's "may fail to run stateful games correctly". Guess the number (either side keeps it), riddles,
twenty questions: the session keeps the secret and what was asked, the model is told with each turn, and a sentence that
contradicts it is corrected. Pretend play: the role that the child gave the buddy is kept. What a parent or a teacher
asks for ("we sit in the car", "no monsters"; in the conversation, in the app's instructions or as a setting) holds for
the session. Where the rail is unsure it tells the model what it knows, and corrects nothing.

Its notes and lines are those under the policy's `steer` and `say` that begin with `game_`; `{secret}`, `{answer}` and
their like are filled in. Each constraint is a setting, too: `seated`, `no_scary`, `quiet`, `no_food`, `no_mess`,
`no_screens`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from zlib import crc32

from pydantic import Field

from proxy.turn import Act, Hold, House, ListName, Options, Plain, Role, Seconds, Segment, Turn, Verdict, plain
from rails._game import constraints, riddle, roles, table
from rails._game.play import Move, Told
from rails._game.words import GATE, says

_NOTES = (
    *("number_open", "number_wait", "number_higher", "number_lower", "number_right", "number_told"),
    *("hidden_guess", "hidden_right", "hidden_muddled", "riddle_open", "twenty_open", "riddle_wait", "riddle_right"),
    *("riddle_wrong", "riddle_told", "riddle_yes", "riddle_no", "asked", "role", *constraints.CONSTRAINTS),
)
_LINES = (
    *("number_open", "number_secret", "number_higher", "number_lower", "number_right", "number_told", "hidden_guess"),
    *("riddle_secret", "riddle_right", "riddle_wrong", "riddle_told", "riddle_yes", "riddle_no"),
    *("role", *constraints.CONSTRAINTS),
)
_REMEMBERED = 30  # riddles that are not asked again


class RailOptions(Options):
    """Options of a `game` rail."""

    asks_person: ListName = Field(
        "", description="The list of phrases by which a child asks what the buddy is. The answer to it keeps no role."
    )
    in_earnest: ListName = Field(
        "", description="The list of phrases by which a child says that it asks in earnest. The answer keeps no role."
    )
    silent_turns: int = Field(
        6, ge=1, description="A game is over after so many messages in a row that have nothing to do with it."
    )
    lapses_after: Seconds = Field(
        1800.0, gt=0, description="A game and a role are over after this time without a message, such as `30m`."
    )


class Rail:
    """Remembers `game` and `role`, `rules` (constraints) and `told` (riddles); numbers and words of the house alone.

    Raises `ValueError` where the policy lacks a note or a line of it.
    """

    content: ClassVar[frozenset[Role]] = frozenset({"user", "assistant"})
    shape: ClassVar[frozenset[Role]] = frozenset()
    needs: ClassVar[Hold] = "sentence"
    settings: ClassVar[tuple[str, ...]] = tuple(constraints.CONSTRAINTS)

    def __init__(self, key: str, options: RailOptions, house: House) -> None:
        self.key = key
        self._options = options
        self._house = house
        self._sincere = [house.phrases[name] for name in (options.asks_person, options.in_earnest) if name]
        _complete(house)
        self._own = key.partition(":")[0]  # a rail in shadow says the same lines
        self.lines: dict[str, Mapping[str, list[str]]] = {
            f"{self._own}/riddle {name}": {language: riddle.wordings(one, language) for language in house.languages}
            for name, one in riddle.SECRETS.items()
        }

    async def check(self, segment: Segment) -> Verdict:
        """User: notes for the model, and what is remembered. Assistant: REPLACE for what is wrong in the game, falls
        out of the role or breaks a constraint, DROP where the answer has that line already, END with a riddle.
        """
        if segment.role == "user":
            return await self._hear(segment)
        return Verdict() if segment.past else self._judge(segment)

    # -- what the child says -------------------------------------------------------------------------------------------

    async def _hear(self, segment: Segment) -> Verdict:
        turn, text, memory = segment.turn, segment.plain(), self._memory(segment.turn)
        rules = self._rules(turn, text, memory)
        role = roles.given(text)
        if not (role or memory.get("game") or memory.get("role") or memory.get("paused") or GATE.opens(text)):
            return self._noted(turn, memory, rules, Move({}), "")
        paused, over = await self._ended(segment, memory)
        if over:
            return Verdict(remember={"game": None, "role": "", "paused": False, **rules})
        if paused:
            return Verdict(remember={"paused": True, "since": turn.now, **rules})
        if not role and not says("leaves_role", text) and not says("something_else", text):
            role = memory.get("role", "")
        avoid = ("food",) if "no_food" in self._held(turn, rules) else ()
        seat = table.Table(
            turn, memory.get("game"), tuple(memory.get("told", ())), avoid, segment.past, self._options.silent_turns
        )
        return self._noted(turn, memory, rules, seat.move(text), role)

    def _noted(self, turn: Turn, memory: Mapping[str, Any], rules: Mapping[str, Any], move: Move, role: str) -> Verdict:
        """The verdict: what the model is told, and what is remembered."""
        held = self._held(turn, rules)
        notes = [*([move.note] if move.note else []), *(["role"] if role else []), *held]
        fill = {**move.fill, **({"role": roles.said(role, turn.language)} if role else {})}
        remember: dict[str, object] = dict(rules)
        if move.game or role or memory:
            remember |= {"game": move.game or None, "role": role, "paused": False, "since": turn.now}
        secret = move.game.get("secret")
        if isinstance(secret, str) and not move.game["turns"]:
            remember["told"] = [*memory.get("told", ()), secret][-_REMEMBERED:]
        why = "; ".join([*([move.why] if move.why else []), *(["the buddy has a role"] if role else []), *held])
        return Verdict(steer=tuple(f"game_{note}" for note in notes), fill=fill, why=why, remember=remember)

    async def _ended(self, segment: Segment, memory: Mapping[str, Any]) -> tuple[bool, bool]:
        """Whether the child stops with this message, so that the game waits for a take-back; and whether it is over."""
        stop, crisis = [await self._asked(kind, segment) for kind in ("stop", "crisis")]
        paused = stop.act is Act.END
        rail = self._house.rails.get("stop")
        latched = bool(stop.remember.get("quiet", rail and segment.turn.recall(rail.key).get("quiet")))
        left = (latched or bool(memory.get("paused"))) and not stop.resumes
        return paused, crisis.act is Act.END or (left and not paused)

    async def _asked(self, kind: str, segment: Segment) -> Verdict:
        """The verdict of the policy's rail of this kind on the message: the line's, where it has asked already."""
        rail = self._house.rails.get(kind)
        if rail is None:
            return Verdict()
        place = segment.asked(rail.key)
        known: Verdict | None = segment.turn.memo.get(place)
        if known is None:
            known = segment.turn.memo[place] = await rail.check(segment)
        return known

    def _memory(self, turn: Turn) -> Mapping[str, Any]:
        """What is remembered, without the game and the role of long ago."""
        memory = turn.recall(self.key)
        if memory and turn.now - memory.get("since", turn.now) >= self._options.lapses_after:
            return {**memory, "game": None, "role": "", "paused": False}
        return memory

    # -- constraints ---------------------------------------------------------------------------------------------------

    def _rules(self, turn: Turn, text: Plain, memory: Mapping[str, Any]) -> dict[str, Any]:
        """What the conversation and the app's instructions ask for, where that has changed, to be remembered."""
        before = memory.get("rules", [])
        rules = constraints.asked(text, before)
        found: dict[str, Any] = {"rules": rules} if rules or before else {}
        if turn.instructions:
            digest = crc32(turn.instructions.encode())
            known = memory.get("told_by_app", [digest + 1])
            asked = known[1:] if known[0] == digest else constraints.asked(plain(turn.instructions), [])
            found["told_by_app"] = [digest, *asked]
        elif memory.get("told_by_app"):
            found["told_by_app"] = [0]
        return found

    def _held(self, turn: Turn, rules: Mapping[str, Any]) -> list[str]:
        """The constraints that hold; what the app has set for the request decides."""
        asked = {*rules.get("rules", ()), *rules.get("told_by_app", (0,))[1:]}
        return [name for name in self.settings if turn.settings.get(name, name in asked) is True]

    # -- what the buddy says -------------------------------------------------------------------------------------------

    def _judge(self, segment: Segment) -> Verdict:
        turn, memory = segment.turn, self._memory(segment.turn)
        game, role = memory.get("game"), memory.get("role")
        held = self._held(turn, memory)
        text = segment.plain()
        if not text.text.strip() or memory.get("paused"):
            return Verdict()
        begun = None if game or held or role else table.offered(text, turn)
        if begun:
            return Verdict(remember={"game": begun, "since": turn.now})
        verdict = self._in_game(segment, text, game) if game else Verdict()
        if verdict.act is not Act.PASS:
            return verdict
        if role and roles.dropped(role, text) and not self._earnest(turn):
            words = {"role": roles.said(role, turn.language)}
            return self._said(segment, Told("role", "the buddy fell out of its role", words))
        broken = constraints.broken(text, held) if held else ""
        return self._said(segment, Told(broken, f"a constraint does not hold: {broken}")) if broken else verdict

    def _in_game(self, segment: Segment, text: Plain, game: Mapping[str, Any]) -> Verdict:
        """What the game has to say of the sentence."""
        memo, place = segment.turn.memo, (self.key, "told")
        before = memo.get(place)  # where the answer said what it must say
        told = before is not None and before != segment.before
        due = segment.last or bool(segment.before.strip())  # behind a first sentence: a clamp may cut what comes late
        found = table.judge(game, text, segment.turn.language, due, told)
        if (isinstance(found, Told) and found.line) or (not isinstance(found, Told) and found.hint):
            memo.setdefault(place, segment.before)
        if isinstance(found, Told):
            return self._said(segment, found)
        return Verdict(remember={"game": found.game} if found.game else {})

    def _said(self, segment: Segment, told: Told) -> Verdict:
        """The house's line; once in an answer."""
        remember: dict[str, object] = {"game": told.game} if told.game else {}
        if (told.keeps or told.ends) and segment.turn.memo.get("document"):
            return Verdict(remember=remember)  # nothing can stand in front of a value in JSON
        first = segment.turn.memo.setdefault((self.key, told.line), segment.before) == segment.before
        if not first:
            return Verdict(remember=remember) if told.keeps else Verdict(Act.DROP, why=told.why, remember=remember)
        say = f"{self._own}/{told.line}" if told.line.startswith("riddle ") else f"game_{told.line}"
        act = Act.END if told.ends else Act.REPLACE
        text = segment.text.strip() if told.keeps else ""
        return Verdict(act, say=say, text=text, why=told.why, fill=told.fill, remember=remember)

    def _earnest(self, turn: Turn) -> bool:
        """Whether the child asks what the buddy is: then the honest answer counts, not the role."""
        asked = plain(turn.user)
        return any(phrases.find(asked) for phrases in self._sincere)


def _complete(house: House) -> None:
    """Raises `ValueError` for a note or a line that the policy lacks."""
    for section, names, there in (("steer", _NOTES, house.notes), ("say", _LINES, house.lines)):
        missing = [f"game_{name}" for name in names if f"game_{name}" not in there]
        if missing:
            raise ValueError(f"`{section}` has no {', '.join(f'`{name}`' for name in missing)}")
