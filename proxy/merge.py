"""Many verdicts on one segment, one effect. A pure function.

The text effect and the end merge separately: among `replace`, `drop` and `end` the first rail in policy order has the
word (a child's policy has `crisis` first), spans are united whoever wins, and one `end` ends the answer whatever else
was said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proxy.redact import union
from proxy.turn import Act, Span, Verdict

_TAKES_TEXT = frozenset({Act.REPLACE, Act.DROP, Act.END})


@dataclass(frozen=True, slots=True)
class Effect:
    """What becomes of the segment.

    `winner` is the index of the verdict that takes the text's place; None: the text stays.
    """

    winner: int | None
    spans: tuple[Span, ...]
    ends: bool

    def won(self, index: int, verdict: Verdict) -> bool:
        """Whether this verdict had an effect; the others are recorded as overruled."""
        if verdict.act in _TAKES_TEXT:
            return index == self.winner or verdict.act is Act.END
        return verdict.act is Act.PASS or self.winner is None


def merge(verdicts: Sequence[Verdict]) -> Effect:
    """The effect of the enforced verdicts, given in policy order."""
    winner = next((index for index, verdict in enumerate(verdicts) if verdict.act in _TAKES_TEXT), None)
    spans = union(span for verdict in verdicts if verdict.act is Act.REDACT for span in verdict.spans)
    return Effect(winner, spans, any(verdict.act is Act.END for verdict in verdicts))
