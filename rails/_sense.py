"""What the learned model hears in a text, for one rail: its own question, and what the policy has taught it."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.turn import House, Segment


@dataclass(frozen=True, slots=True)
class Sensed:
    """What was heard: its kind, how sure (0 to 1), and where the example stands that decided (empty: none did)."""

    kind: str
    score: float
    near: str = ""


class Sense:
    """One head of the shipped model, and the rail's examples."""

    def __init__(self, head: str, house: House, key: str) -> None:
        self._head = head
        self._key = key
        self._taught = house.taught

    def hear(self, segment: Segment, hinted: bool = False) -> Sensed | None:
        """What the segment says, judged with the other side's last turn; None: nothing.

        hinted: a list of the policy has a phrase in it, so that less is asked of the model.
        """
        return None
