"""What a model says beside its answer, its reasoning or a refusal of its own, on its way out.

The content rails judge it sentence by sentence; what they would replace, drop or end is left out, because nothing
there is spoken to anybody. A refusal is, in the answer's place: the shape rails judge it too.
"""

from __future__ import annotations

from proxy.judged import length_alone
from proxy.judging import content, shaped
from proxy.line import Line
from proxy.segments import Cut, Segmenter
from proxy.turn import Segment


class Beside:
    """One such text. What `feed` and `finish` return has been judged and may leave."""

    def __init__(self, line: Line, spoken: bool = False) -> None:
        """`spoken`: it is said to the user."""
        self._line = line
        self._spoken = spoken
        self._segmenter = Segmenter(line.hold, line.policy.hold_max)
        self._ended = False  # a shape rail has ended it
        self.raw = ""  # what has been judged
        self.left = ""  # what has left
        self.stored: list[str] = []  # the same as it may be stored

    @property
    def silenced(self) -> bool:
        """Whether something was said and nothing of it has left."""
        return bool(self.raw.strip()) and not self.left.strip()

    async def feed(self, text: str) -> str:
        """Judges the segments that `text` settles."""
        return "".join([await self._judge(cut) for cut in self._segmenter.feed(text)])

    async def finish(self) -> str:
        """Judges what is left; more may still come."""
        rest = self._segmenter.finish()
        self._segmenter = Segmenter(self._line.hold, self._line.policy.hold_max)
        return "".join([await self._judge(cut) for cut in rest])

    async def _judge(self, cut: Cut) -> str:
        segment = Segment("assistant", cut.text, self._line.turn, self.raw, cut.after, self.left, ending=cut.ending)
        start = len(self.raw)
        self.raw += cut.text
        if self._ended:
            return ""
        judged = await content(self._line, segment, 0, start)
        if judged.winner is not None:
            return ""
        redacted = text = self._line.redacted(cut.text, judged.effect.spans, self._line.turn.language)
        if self._spoken:
            text, self._ended = await shaped(self._line, segment, text, start)
        self.left += text
        masked = text if judged.covered else length_alone(text)
        self.stored.append(judged.masked if text == redacted else masked)
        return text
