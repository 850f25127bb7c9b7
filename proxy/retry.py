"""Asking the model once more, where a policy would rather have a better answer than a line of the house."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.judged import Finding
from proxy.policy.schema import Retry
from proxy.turn import Act

_OBJECTIONS = frozenset({Act.REPLACE, Act.DROP, Act.END})


class Again(Exception):
    """The answer is withdrawn before anything of it has left. say: the line that would have stood in its place."""

    def __init__(self, say: str) -> None:
        super().__init__()
        self.say = say


def reconsider(retry: Retry, found: Iterable[Finding]) -> None:
    """Raises `Again` where one of the rails that the policy names has something against the answer.

    A rail that broke has said nothing about it.
    """
    for one in found:
        objects = one.verdict.act in _OBJECTIONS or "review" in one.verdict.flags
        if one.rail in retry.rails and one.mode == "enforce" and objects and not one.broken:
            raise Again(one.verdict.say)
