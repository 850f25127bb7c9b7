"""A rail that is in no file: it does what rails may do and few do, so that policies can be tried with it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

import pytest

import rails
from proxy.turn import Act, Fault, FolderName, Hold, House, Options, PolicyError, Role, Segment, Verdict

ENTRY = """\
  - id: odd
    rail: odd
    why: It is odd.
"""


class RailOptions(Options):
    """`file`: a word that makes it fail in its own way; with a `folder` it brings a line and a note."""

    file: str = ""
    switch: bool = False
    folder: FolderName = ""
    settings: tuple[str, ...] = ()
    hush: str = "Hush now."  # its line in English


class Rail:
    """Ends the third turn of a session and every turn at bedtime; "softly" makes it hold the answer whole."""

    content: ClassVar[frozenset[Role]] = frozenset({"user"})
    shape: ClassVar[frozenset[Role]] = frozenset()
    needs: ClassVar[Hold] = "clause"
    masks: ClassVar[bool] = True
    of_session: ClassVar[bool] = True

    def __init__(self, key: str, options: RailOptions, house: House) -> None:
        if options.file == "broken":
            raise ValueError("broken is no list")
        if options.file == "code" and not house.code:
            raise ValueError("the house allows no code")
        if options.file == "late":
            (house.folder / options.folder / "late.co").write_text("b")
        if options.file == "faulty":
            raise PolicyError([Fault("flows/a.co", 3, 1, "no such action"), Fault("flows/b.co", 4, 1, "no such line")])
        self.key, self.house, self.settings, self.settled, self._file = key, house, options.settings, 0, options.file
        if options.folder:
            self.lines = {f"{key}/hush": {"en": (options.hush,), "it": ("Piano.",), "ko": ("쉿.",)}}
            self.places = {f"{key}/hush": "flows/a.co:7"}
            self.notes = (Fault("flows/a.co", 9, 1, "needs a model"),)

    def settle(self) -> None:
        self.settled = len(self.house.rails)
        if self._file == "unsettled":
            raise PolicyError([Fault("flows/a.co", 5, 1, "no rail `pii`")])

    async def check(self, segment: Segment) -> Verdict:
        turn = segment.turn
        if "breaks" in segment.text:
            raise RuntimeError
        times = [*turn.recall(self.key).get("times", ()), turn.now]
        if turn.settings.get("bedtime") is True or len(times) > 2:
            why = f"turns at {times}, {len(turn.history)} messages before"
            return Verdict(Act.END, say=f"{self.key}/hush", why=why, remember={"times": times})
        if "softly" in segment.text:
            return Verdict(steer=("quiet",), hold="message", why="it asks for calm")
        if "backwards" in segment.text:
            return Verdict(Act.REPLACE, text=segment.text[::-1], why="turned round", remember={"times": times})
        return Verdict(remember={"times": times})


def add(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rail `odd` beside the real ones."""
    load, names = rails.load, rails.names()
    module = SimpleNamespace(Rail=Rail, RailOptions=RailOptions)
    monkeypatch.setattr(rails, "names", lambda: (*names, "odd"))
    monkeypatch.setattr(rails, "load", lambda name: module if name == "odd" else load(name))
