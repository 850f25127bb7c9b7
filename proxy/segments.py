"""Text to canonical segments. The only file that ever sees a chunk boundary, but for `proxy.thoughts` at the beginning.

Theory of operation
-------------------
A model server sends an answer in chunks whose borders mean nothing. Rails must not see them: a rail that judged
chunks would say one thing of `555-01` and another of `42`. So the text is cut once, here, and every rail judges the
same pieces, whatever the chunking and whether the client streams or not.

That holds because of one rule: *whether and where a piece is cut depends on the text alone, and is decided only once
the characters that decide it have all been seen*. A chunk only makes more characters visible. Three things can happen
at a gap, a run of white space with the character behind it (none is needed behind `。`, nor in `Yes!No!`):

1. The gap ends a sentence or a line: the piece is cut there, as soon as the character behind the gap is seen.
2. The gap is glue: digits, an e-mail address or a URL go on behind it. Nothing is ever cut there. Where one
   character behind the gap cannot tell (`gmail. c`, `078-05 -`), the gap waits for those that can: `_settled`.
3. Neither. The gap is remembered as a place where a piece that grows too long may be cut.

A piece that reaches `cap` characters without an ending is cut at its last remembered gap, once `LOOK` more characters
have been seen: these travel with the piece as `after`, so that a rail sees a datum on the seam whole. Text without
any gap is torn at four times the cap; the piece says so, and the rail for personal data covers what was torn.

A tool call that a model writes into its text, `<tool_call>{...}</tool_call>`, is one piece, ending "call", whatever
stands in it and whatever is held: marker to marker, without the white space around. What stands before the marker is
cut off there as a line is, unless its own last gap has cut it already; an unfinished marker at the end of what is seen
waits. A call longer than `CALL` is torn there, and what follows is text again; one that never ends is the last piece.

The buffer holds one piece at most, and `_scan` marks how far it has been searched: nothing is searched twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from proxy.turn import Ending, Hold

LOOK = 64  # characters seen behind a cut that the cap forces
TORN = 4  # times the cap: here even a run without a gap is cut
CLAUSE = 24  # characters: shorter clauses wait for the next one
CALL = 32_000  # characters: a longer tool call, markers included, is no tool call

CALL_BEGINS, _CALL_ENDS = "<tool_call>", "</tool_call>"

_GAP = re.compile(r"\s+(?=\S)|(?<=[。！？｡])(?=[^\s。！？｡…」』）】\"'”’])|(?<=[!?؟])(?=[^\W\d_])")
_LINE_END = re.compile(r"[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")  # the separators of str.splitlines
_CLOSERS = "\"'”’»)]」』）】*_"
_QUOTES = frozenset("\"'”’»」』")
# A sentence's marks; behind them closers and emoji.
_ENDS = re.compile(r"([.!?؟…。！？｡]+|(?<=[\uac00-\ud7a3!?])~+)([^\w\s]*(?:\s+[^\w\s]+)*)$")
_ENDS_REACH = 24  # characters back in which the ending of a sentence, its closers and its emoji are looked for
_CLAUSE_END = re.compile(r"[,;:—–、]$")
_UNSEEN = "\u00ad\u200b-\u200d\u2060\ufeff\ufe0f\u20e3"  # invisible characters, and what makes a digit a keycap
_DIGITS_END = re.compile(rf"\d[\s.,\-–()/:{_UNSEEN}]*$")
_DIGITS_GO_ON = re.compile(rf"[\d+(){_UNSEEN}]|[-–/.]\d")
_JOINTS = frozenset("-–/.")  # before a digit these go on with a number; `3 - and` does not
_TOKEN_END = re.compile(r"\S+$")
_LIST_NUMBER = re.compile(r"[-*•]?\s*\(?\d{1,3}[.)]")
_LETTER_AND_DIGIT = re.compile(r"(?=.*\d)(?=.*[^\W\d_])")
_NUMBER_SIGN = re.compile(r"\W*(?:n|nr|no|nro|num|tel)\.", re.IGNORECASE)  # `via Garibaldi n. 12`
_PLACEHOLDER = re.compile(r"[<\[{＜［][A-Za-z_ ]{2,40}$")  # `<PERSON 1>`, as some models write it
_ADDRESS = re.compile(r"@|://|www\.", re.IGNORECASE)
_DOMAINS = ("com", "net", "org", "it", "kr", "uk", "co", "eu")
_DOMAIN = re.compile(rf"(?:{'|'.join(_DOMAINS)})(?!\w)")  # `gmail. com`
_DOMAIN_BEGUN = frozenset(domain[:end] for domain in _DOMAINS for end in range(1, len(domain) + 1))

# A dot behind these never ends a sentence ...
_ABBREVIATED = (
    "mr mrs ms miss dr prof st sr jr mt vs fig vol e.g i.e sig sig.ra sig.na sigg dott dott.ssa prof.ssa ing avv arch "
    "geom on es p.es pag nr art cfr"
)
_TITLES = frozenset(_ABBREVIATED.split())
# ... and behind these only before a capital or Hangul.
_PERHAPS = frozenset(["p.m", "a.m", "pm", "am", "etc", "ecc", "ca", "inc", "ltd", "co", "corp"])


@dataclass(frozen=True, slots=True)
class Cut:
    """One piece of the text, why it ends where it does, and what was seen behind it where the cap cut it."""

    text: str
    ending: Ending
    after: str = ""


class Segmenter:
    """Cuts one message. `feed` and `finish` return the pieces that are settled; joined, they are the text, byte for
    byte.

    hold: what is kept back until it is complete. cap: characters without an ending after which a piece is cut at a
    space.
    """

    def __init__(self, hold: Hold = "sentence", cap: int = 200) -> None:
        self._hold = hold
        self._cap = cap
        self._reach = cap * TORN + LOOK + len(CALL_BEGINS)  # a piece is decided by no more characters than these
        self._text = ""  # the piece in the making
        self._scan = 0  # searched so far
        self._line = 0  # where the current line began; negative once that has been cut off
        self._fenced = False  # inside a code block: only lines end
        self._early = 0  # the last place at or before the cap where a long piece may be cut
        self._late = 0  # the first such place behind the cap

    def feed(self, text: str) -> list[Cut]:
        """Adds text and returns the pieces it settles."""
        self._text += text
        cuts: list[Cut] = []
        if self._hold != "message":
            while cut := self._next():
                cuts.append(cut)
        return cuts

    def finish(self) -> list[Cut]:
        """The rest, as the last piece; nothing if there was no text."""
        cuts = list(self._calls()) if self._hold == "message" else []
        rest, self._text = self._text, ""
        return [*cuts, Cut(rest, "last")] if rest else cuts

    def _next(self) -> Cut | None:
        """The next settled piece, if the text decides one."""
        call = len(self._text)
        if self._text.find("<", 0, self._reach) >= 0:
            if self._text.startswith(CALL_BEGINS):
                return self._call()
            call = self._call_begins()
        while (gap := _GAP.search(self._text, self._scan)) and gap.end() <= call and gap.end() < self._limit():
            if not self._settled(gap.start(), gap.end()):
                return None
            ending = self._ending(gap.start(), gap.end())
            self._scan = gap.end() + 1
            if ending:
                return self._cut(gap.end(), ending)
        if call < len(self._text) and call < self._limit():
            return self._cut(call, "line") if self._text.startswith(CALL_BEGINS, call) else None
        if len(self._text) >= self._limit():
            return self._forced()
        if gap is None:
            self._scan = max(self._scan, len(self._text.rstrip()))
        return None

    def _call_begins(self) -> int:
        """Where a tool call begins or, at the end of what is seen, may begin; the text's length if it does not."""
        text = self._text
        place = text.find(CALL_BEGINS, 0, self._reach)
        if place >= 0:
            return place
        place = text.rfind("<", max(0, len(text) - len(CALL_BEGINS)))
        return place if place >= 0 and CALL_BEGINS.startswith(text[place:]) else len(text)

    def _call(self) -> Cut | None:
        """The tool call that the text begins with, once its end is seen or it is too long for one."""
        end = self._text.find(_CALL_ENDS, self._scan, CALL)
        if end < 0 and len(self._text) < CALL:
            self._scan = max(0, len(self._text) - len(_CALL_ENDS) + 1)
            return None
        cut = self._cut(end + len(_CALL_ENDS), "call") if end >= 0 else self._cut(CALL, "torn")
        self._line = 0
        return cut

    def _calls(self) -> Iterator[Cut]:
        """The tool calls of a message that was held whole, and what stands before each."""
        while (place := self._text.find(CALL_BEGINS)) >= 0:
            if place:
                yield self._cut(place, "line")
            call = self._call()
            if call is None:
                return
            yield call

    def _settled(self, start: int, end: int) -> bool:
        """Whether enough is seen behind the gap to know if a number or a domain goes on there."""
        seen = self._text[end : end + 4]
        return seen not in _JOINTS and not (self._text[start - 1 : start] == "." and seen in _DOMAIN_BEGUN)

    def _limit(self) -> int:
        """The length at which the piece is cut even without an ending."""
        place = self._early or self._late
        return max(self._cap, place) + LOOK if place else self._cap * TORN

    def _forced(self) -> Cut:
        place = self._early or self._late
        if place:
            return self._cut(place, "piece", self._text[place : self._limit()])
        return self._cut(self._cap * TORN, "torn")

    def _cut(self, place: int, ending: Ending, after: str = "") -> Cut:
        cut = Cut(self._text[:place], ending, after)
        self._text = self._text[place:]
        self._line -= place
        self._scan = self._early = self._late = 0
        return cut

    def _ending(self, start: int, end: int) -> Ending | None:
        """What the gap `start:end` ends, if anything; remembers the gap as a place to cut a long piece."""
        if start == 0:
            return None
        new_line = _LINE_END.search(self._text, start, end) is not None
        fenced = self._fenced
        if new_line:
            fenced = self._pass_line(start, end)
        if self._glued(start, end):
            return None
        if new_line:
            return "line"
        if not fenced and self._ends_sentence(start, end):
            return "sentence"
        if self._hold == "clause" and start >= CLAUSE and _CLAUSE_END.search(self._text, max(0, start - 1), start):
            return "clause"
        if end <= self._cap:
            self._early = end
        elif not self._late:
            self._late = end
        return None

    def _pass_line(self, start: int, end: int) -> bool:
        """Takes note of a line's end; returns whether the line was code."""
        fenced, line = self._fenced, self._text[max(0, self._line) : start]
        if self._line >= 0 and line.lstrip().startswith("```"):
            self._fenced = not self._fenced
        self._line = end
        return fenced

    def _glued(self, start: int, end: int) -> bool:
        """Whether a number, an e-mail address or a URL may go on behind the gap."""
        match = _TOKEN_END.search(self._text, max(0, start - 80), start)
        word = match.group() if match else ""
        return self._number_goes_on(start, end, word) or self._address_goes_on(start, end, word)

    def _number_goes_on(self, start: int, end: int, word: str) -> bool:
        if _DIGITS_GO_ON.match(self._text, end) and _DIGITS_END.search(self._text, max(0, start - 80), start):
            return True
        if not self._text[end].isdigit() or word.endswith(("!", "?")):
            return False
        if _PLACEHOLDER.search(self._text, max(0, start - 42), start):
            return True
        return _LETTER_AND_DIGIT.match(word) is not None or _NUMBER_SIGN.fullmatch(word) is not None

    def _address_goes_on(self, start: int, end: int, word: str) -> bool:
        behind = self._text[end]
        if start == end:
            return _ADDRESS.search(word) is not None or "=" in word  # the `?` of a query
        if word.endswith("@") or (word.endswith(".") and _DOMAIN.match(self._text, end)):
            return True
        if behind != "@" and not _ADDRESS.search(word):
            return False
        return word[-1:] not in "!?" and (behind == "@" or behind.islower() or behind.isdigit())

    def _ends_sentence(self, start: int, end: int) -> bool:
        if self._text[max(0, self._line) :][:1] == "|":
            return False  # a table's row ends with its line
        found = _ENDS.search(self._text, max(0, start - _ENDS_REACH), start)
        behind = self._text[end]
        if not found or _is_symbol(behind):
            return False
        marks, closers = found.groups()
        goes_on = behind.islower() or "\uac00" <= behind <= "\ud7a3"
        if goes_on and (_QUOTES.intersection(closers) or marks in ("…", "...", "..")):
            return False  # "Hello!" said the bear; 음... 그래
        return marks != "." or bool(closers) or self._dot_ends(found.start(), behind)

    def _dot_ends(self, dot: int, behind: str) -> bool:
        """Whether the single dot at `dot` ends a sentence: not behind a title, an initial or a list's number."""
        match = _TOKEN_END.search(self._text, max(0, dot - 40), dot)
        word = re.split(r"[\"'’“‘«(]", match.group())[-1] if match else ""
        if word.lower() in _TITLES or (len(word) == 1 and word.isupper() and word != "I"):
            return False
        if word.lower() in _PERHAPS or "." in word:
            return not (behind.islower() or behind.isdigit())
        return not _LIST_NUMBER.fullmatch(self._text[max(0, self._line) : dot + 1].strip())


def _is_symbol(character: str) -> bool:
    """Emoji, dashes and the like go with the sentence before them; openers, quotes and markup begin the next one."""
    return not character.isalnum() and character not in "\"'“‘«¿¡([「『（【<*_#`~|-+@$€£&•…"
