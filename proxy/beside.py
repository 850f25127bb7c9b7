"""What a model says beside its answer, its reasoning or a refusal of its own, on its way out.

The content rails judge it sentence by sentence; what they would replace, drop or end is left out, because nothing
there is spoken to anybody.
"""

from __future__ import annotations

from proxy.line import Line
from proxy.segments import Cut, Segmenter
from proxy.turn import Segment


class Beside:
    """One such text. What `feed` and `finish` return has been judged and may leave."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._segmenter = Segmenter(line.policy.hold, line.policy.hold_max)
        self._raw = ""
        self.left = ""  # what has left
        self.stored: list[str] = []  # the same as it may be stored

    @property
    def silenced(self) -> bool:
        """Whether something was said and nothing of it has left."""
        return bool(self._raw.strip()) and not self.left.strip()

    async def feed(self, text: str) -> str:
        """Judges the segments that `text` settles."""
        return "".join([await self._judge(cut) for cut in self._segmenter.feed(text)])

    async def finish(self) -> str:
        """Judges what is left; more may still come."""
        rest = self._segmenter.finish()
        self._segmenter = Segmenter(self._line.policy.hold, self._line.policy.hold_max)
        return "".join([await self._judge(cut) for cut in rest])

    async def _judge(self, cut: Cut) -> str:
        segment = Segment("assistant", cut.text, self._line.turn, self._raw, cut.after, ending=cut.ending)
        judged = await self._line.content(segment, 0, len(self._raw))
        self._raw += cut.text
        if judged.winner is not None:
            return ""
        text = self._line.redacted(cut.text, judged.effect.spans, self._line.turn.language)
        self.left += text
        self.stored.append(judged.masked)
        return text
