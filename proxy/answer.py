"""One answer on its way out: cut into segments, judged by the line, settled piece by piece."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from proxy.beside import Beside
from proxy.judged import Judged, length_alone
from proxy.judging import content, shaped
from proxy.line import Line
from proxy.retry import reconsider
from proxy.segments import CALL_BEGINS, Cut, Segmenter
from proxy.thoughts import Thought, Thoughts
from proxy.turn import Heard, Segment

_REBUILD = 24  # messages of the transcript from which a lost state is rebuilt
_OPEN_ENDINGS = frozenset({"clause", "piece", "torn", "limit"})


@dataclass(frozen=True, slots=True)
class Piece:
    """`start:end` of the raw answer is settled. `text` is what leaves in its place; None: it leaves as it came."""

    start: int
    end: int
    text: str | None


@dataclass(frozen=True, slots=True)
class Structured:
    """What came of a piece of JSON that the model wrote: a document, or the call of a tool."""

    text: str | None  # as it may leave: the same string where nothing changed; None: blocked
    stored: str  # as it may be stored
    say: str = ""  # blocked: the key of the house line that the rail asks for
    ends: bool = False


JudgeCall = Callable[[Line, str], Awaitable[Structured]]


class Answer:
    """One answer on its way out. `feed` it the model's text as it comes; the pieces it returns are settled, in order,
    without a hole.

    White space at the end of a segment is kept back and leaves with the next one, so that an answer which ends early
    has none.
    """

    def __init__(
        self, line: Line, prefilled: str = "", judge_call: JudgeCall | None = None, reasoning: bool = False
    ) -> None:
        """`prefilled`: what the app began of it; `judge_call` judges a tool call that stands in the text; `reasoning`
        at its beginning is judged and leaves, else it is left out.
        """
        self._line = line
        self._judge_call = judge_call
        self._segmenter = Segmenter(line.hold, line.policy.hold_max)
        self._thoughts = Thoughts(Beside(line) if reasoning else None, prefilled)
        self._raw = prefilled  # what the model said before the segment at hand
        self._own = len(prefilled)  # where the model's own text begins in it
        self._done = 0  # up to where the model's text is settled
        self._said: set[str] = set()  # house lines already in this answer
        self._touched = False
        self._open = False  # what left last stands in the middle of a sentence
        self.thought = ""  # what has left of reasoning before it
        self.sent = ""  # what has left
        self.stored: list[str] = []  # the same as it may be stored
        self.masked: list[str] = []  # the model's own text as it may be stored
        self.ended = False  # a rail has ended the answer: the generation can be cancelled

    async def feed(self, text: str) -> list[Piece]:
        """Judges the segments that `text` settles."""
        if self.ended:
            return []
        thoughts, text = await self._thoughts.feed(text)
        pieces = [self._reasoned(thought) for thought in thoughts]
        for cut in self._segmenter.feed(text):
            pieces += await self._judge(cut)
            if self.ended:
                break
        return pieces

    async def finish(self, cut_off: bool = False, alone: bool = True) -> list[Piece]:
        """The model has nothing more to say: judges the rest.

        `cut_off`: it stopped at its token limit, perhaps within a word. `alone`: nothing stands beside the text, so
        that it may not be empty.
        """
        if self.ended:
            return []
        thoughts, text = await self._thoughts.finish()
        pieces = [self._reasoned(thought) for thought in thoughts]
        for cut in [*self._segmenter.feed(text), *self._segmenter.finish()]:
            pieces += await self._judge(replace(cut, ending="limit") if cut_off else cut)
        total = len(self._raw) - self._own
        if not self.ended and self.sent and self._done < total:
            pieces.append(Piece(self._done, total, None))  # white space at the very end
            self._leave(self._raw[self._own + self._done :])
        if alone and not self.sent.strip() and (self._touched or self._line.policy.audience == "child"):
            pieces.append(Piece(total, total, self._leave(self._line.say("fallback"))))
        return pieces

    async def replay(self, text: str) -> None:
        """Lets the shape rails see an answer of the past, so that they remember it."""
        for cut in [*self._segmenter.feed(text), *self._segmenter.finish()]:
            if cut.ending != "call":
                await self._line.shape(self._segment(cut), 0)
            self._raw += cut.text
            self.sent += cut.text

    def say_once(self, key: str) -> str:
        """The house line of this key, or nothing if this answer has it already."""
        if not key or key in self._said:
            return ""
        self._said.add(key)
        return self._line.say(key)

    async def _judge(self, cut: Cut) -> list[Piece]:
        if self._judge_call and (cut.ending == "call" or cut.text.lstrip().startswith(CALL_BEGINS)):
            return await self._call(cut, self._judge_call)
        segment, known = self._segment(cut), len(self._line.findings)
        start = len(self._raw) - self._own
        judged = await content(self._line, segment, 0, start)
        self.masked.append(judged.masked)
        merged, stored = self._merged(cut, judged)
        house = judged.winner is not None and not judged.text
        text, ends = await self._shape(segment, merged, start, house)
        retry = self._line.policy.retry
        if retry and self._line.withdrawable and not (self.sent or self.thought):
            reconsider(retry, self._line.findings[known:])
        self._raw += cut.text
        if text.strip() != merged.strip():  # by a shape rail
            told = house or (judged.winner is None and judged.covered)
            stored = text if told else length_alone(text.strip())
        return self._settle(cut, text, ends or judged.effect.ends, stored.strip())

    async def _call(self, cut: Cut, judge_call: JudgeCall) -> list[Piece]:
        """A tool call in the text: whole, or a house line in its place."""
        found = await judge_call(self._line, cut.text)
        self.masked.append(found.stored)
        self._raw += cut.text
        if found.text is None:
            text = self.say_once(found.say or "fallback")
            return self._settle(cut, text, found.ends, text)
        return self._settle(cut, found.text, found.ends, found.stored.strip())

    async def _shape(self, segment: Segment, text: str, start: int, house: bool) -> tuple[str, bool]:
        """The merged text after the shape rails, which judge it sentence by sentence, however much of it was held."""
        if text == segment.text and self._line.hold == "sentence":
            return await self._line.shape(segment, start) if text.strip() else (text, False)
        return await shaped(self._line, replace(segment, house=house), text, start)

    def _reasoned(self, thought: Thought) -> Piece:
        """A part of the reasoning. It is none of the text that the rails judge the answer by."""
        start = self._done
        self._done += len(thought.raw)
        self._own -= len(thought.raw)
        self.thought += thought.left
        self.masked.append(thought.stored)
        self.stored.append(thought.stored)
        return self._piece(start, thought.raw, thought.left)

    def _piece(self, start: int, raw: str, text: str) -> Piece:
        """What leaves in the place of `raw`, with the data that the user gets back. `sent` never has them."""
        shown = self._line.restored(text, within_json=raw.lstrip().startswith(CALL_BEGINS))
        return Piece(start, self._done, None if shown == raw else shown)

    def _segment(self, cut: Cut) -> Segment:
        last = cut.ending in ("last", "limit")
        return Segment(
            "assistant", cut.text, self._line.turn, self._raw, cut.after, self.sent, last=last, ending=cut.ending
        )

    def _merged(self, cut: Cut, judged: Judged) -> tuple[str, str]:
        """The text after the content rails, and as it may be stored."""
        if judged.winner is None:
            text = self._line.redacted(cut.text, judged.effect.spans, self._line.turn.language)
            stored = text if judged.covered else judged.masked if text == cut.text else length_alone(text)
            lines = []
        else:
            text, stored = judged.text, judged.stored
            lines = [line for line in map(self.say_once, judged.says) if line]
        if not self._own and (opening := self._line.opening()):  # not within an answer that the app began
            lines = [opening, *lines]
        return " ".join([*lines, text]), " ".join([*lines, stored])

    def _settle(self, cut: Cut, text: str, ends: bool, stored: str) -> list[Piece]:
        """The piece that leaves for this cut, and the line that must stand where nothing would."""
        start, self._done = self._done, len(self._raw.rstrip()) - self._own
        self._done = max(start, self._done)
        raw = self._raw[self._own + start : self._own + self._done]
        lead = raw[: len(raw) - len(raw.lstrip())]
        self.ended = ends
        if text == cut.text and not ends and (self.sent or not self._touched):
            self._leave(raw, lead + stored)
            self._open = cut.ending in _OPEN_ENDINGS
            return [self._piece(start, raw, raw)] if raw else []
        self._touched = True
        out = text.strip()
        if out:
            lead = lead if self.sent else ""
            self._leave(lead + out, lead + stored)
            self._open = cut.ending in _OPEN_ENDINGS
            out = lead + out
        return [self._piece(start, raw, out + self._close() if ends else out)]

    def _close(self) -> str:
        """What an answer that ends here still needs: an ellipsis in mid-sentence, a line where nothing was said."""
        if not self.sent:
            return self._leave(self._line.say("fallback"))
        return self._leave("…") if self._open else ""

    def _leave(self, text: str, stored: str | None = None) -> str:
        self.sent += text
        self.stored.append(text if stored is None else stored)
        return text


async def rebuild(line: Line, history: Sequence[Heard]) -> None:
    """Lets the rails remember in silence what the transcript tells, where no state was found."""
    live = line.turn
    for number, heard in enumerate(history[-_REBUILD:]):
        line.turn = replace(live, id=f"{live.id}.{number}", memo={})
        if heard.role == "assistant":
            await Answer(line).replay(heard.text)
        else:
            line.turn.user = heard.text
            await line.content(Segment(heard.role, heard.text, line.turn, last=True, past=True), number, 0)
    line.turn = live
    line.findings = [found for found in line.findings if found.broken]  # a rail that fails is an event here too
