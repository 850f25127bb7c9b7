"""hours: what parents set: quiet hours, and how long a session may last, with a gentle ending.

In the quiet hours the house says that it is quiet time; the model is not asked. When a session has lasted long enough,
one turn is steered towards an end, and the next ones get the house's ending, until the child has rested. A child in
danger is heard at any hour: `crisis` stands before this rail, and outranks it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, time
from typing import ClassVar, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, ValidationError, field_validator, model_validator

from proxy.turn import Act, Hold, House, Options, Role, SayKey, Seconds, Segment, SteerKey, Turn, Verdict

_AFTERWARDS = 86400.0  # seconds
_SPAN = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)\s*-\s*([01]?\d|2[0-3]):([0-5]\d)")


class Times(Options):
    """What holds: the policy's, or what a parent has set for the request."""

    quiet_hours: str = Field("", description="From when to when it is quiet, such as `20:00-07:00`. Empty: never.")
    zone: str = Field("UTC", description="The time zone of these hours, such as `Europe/Rome`.")
    longest: Seconds | None = Field(None, gt=0, description="How long a session may last, such as `30m`; or no end.")

    @field_validator("quiet_hours")
    @classmethod
    def _hours(cls, text: str) -> str:
        if text and not _SPAN.fullmatch(text):
            raise ValueError("are written as 20:00-07:00")
        return text

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("is written as Europe/Rome or Asia/Seoul") from None
        return name


class RailOptions(Times):
    """Options of an `hours` rail. A parent's app may set `quiet_hours`, `zone` and `longest` with each request."""

    rest: Seconds = Field(3600.0, gt=0, description="How long nobody must speak until a new session may begin.")
    say_quiet: SayKey = Field("", description="The line of the quiet hours.")
    say_enough: SayKey = Field(description="The line that ends a session which has lasted long enough.")
    steer_last: SteerKey = Field(description="The note for the last turn before that, so that the end is gentle.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.quiet_hours and not self.say_quiet:
            raise ValueError("`quiet_hours` needs the line `say_quiet`")
        return self


class Rail:
    """Remembers `begun` and `heard` (unix seconds), and whether the `last` turn was granted."""

    content: ClassVar[frozenset[Role]] = frozenset({"user"})
    shape: ClassVar[frozenset[Role]] = frozenset()
    needs: ClassVar[Hold] = "clause"
    of_session: ClassVar[bool] = True
    settings: ClassVar[tuple[str, ...]] = ("quiet_hours", "zone", "longest")

    def __init__(self, key: str, options: RailOptions, house: House) -> None:
        self.key = key
        self._options = options
        self._house = house

    def admit(self, settings: Mapping[str, object]) -> None:
        """Raises `ValueError` for a setting that cannot be."""
        try:
            Times(**{name: settings[name] for name in self.settings if name in settings})  # type: ignore[arg-type]
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"`{first['loc'][0]}`: {first['msg'].removeprefix('Value error, ')}") from None

    async def check(self, segment: Segment) -> Verdict:
        """END with `say_quiet` in the quiet hours, and with `say_enough` once the session has lasted long enough."""
        turn = segment.turn
        crisis = self._house.rails.get("crisis")
        if crisis and turn.now - turn.recall(crisis.key).get("at", -_AFTERWARDS) < _AFTERWARDS:
            return Verdict()  # whoever was in danger a while ago is not sent to bed
        times = self._times(turn)
        if times.quiet_hours and self._options.say_quiet and _within(times, turn.now):
            return Verdict(Act.END, say=self._options.say_quiet, why=f"quiet hours, {times.quiet_hours} {times.zone}")
        return self._lasted(turn, times.longest) if times.longest else Verdict()

    def _times(self, turn: Turn) -> Times:
        given = {name: turn.settings[name] for name in self.settings if name in turn.settings}
        if not given:
            return self._options
        parsed = Times(**given)  # type: ignore[arg-type]
        return self._options.model_copy(update={name: getattr(parsed, name) for name in given})

    def _lasted(self, turn: Turn, longest: float) -> Verdict:
        memory = turn.recall(self.key)
        if not memory or turn.now - memory["heard"] >= self._options.rest:
            return Verdict(remember={"begun": turn.now, "heard": turn.now, "last": False})
        if turn.now - memory["begun"] < longest:
            return Verdict(remember={"heard": turn.now})
        if not memory["last"]:
            why = "the session has lasted long enough: its last turn"
            return Verdict(steer=(self._options.steer_last,), why=why, remember={"heard": turn.now, "last": True})
        # not `heard`: who goes on asking still rests
        return Verdict(Act.END, say=self._options.say_enough, why="the session has lasted long enough")


def _within(times: Times, now: float) -> bool:
    clock = datetime.fromtimestamp(now, UTC).astimezone(ZoneInfo(times.zone)).time()
    first, last = _bounds(times.quiet_hours)
    return first <= clock < last if first <= last else clock >= first or clock < last


def _bounds(hours: str) -> tuple[time, time]:
    match = _SPAN.fullmatch(hours)
    if match is None:  # unreachable: checked when they were given
        raise ValueError("are written as 20:00-07:00")
    return time(int(match[1]), int(match[2])), time(int(match[3]), int(match[4]))
