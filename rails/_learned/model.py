"""The learned model at work: a fraction of a millisecond a sentence, in onnxruntime on one core.

Several small networks that were taught the same judge together: one alone errs more (Hansen and Salamon, 1990). How
sure they must be is kept for each question and language in `calibration.json`: sure enough alone, and sure enough where
a list has a hit too.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import orjson
from numpy.typing import NDArray

from proxy.turn import Plain
from rails._learned.words import LONGEST, Side, Word, earlier, pieces, standing, words

Array = NDArray[np.float32]
Memo = MutableMapping[object, Any]

_FOLDER = Path(__file__).parent / "weights"
_CACHED = 20_000  # words
_AT_ONCE = 40  # words; a longer text is read piece by piece, so that one sentence is not lost in it
_STEP = 30


@dataclass(frozen=True, slots=True)
class Bar:
    """How sure the model must be: to say that it may be so, to act alone, and to act beside a hit of a list."""

    maybe: float
    alone: float
    hinted: float


@dataclass(frozen=True, slots=True)
class Read:
    """A piece of a text as the networks read it."""

    words: list[Word]
    kinds: Array  # how likely each kind of each head is, head after head
    tags: Array  # for each word, how likely it is nothing private, a name, an address, ...
    meaning: Array  # of length 1; near that of another text which means the same and says it alike


class Model:
    """The networks of a folder. Nothing in it changes, so all turns share it.

    `kinds` names what each head tells apart, `private` what a word may be a part of; the first of each is "nothing".
    """

    def __init__(self, folder: Path) -> None:
        kept = orjson.loads((folder / "calibration.json").read_bytes())
        self.kinds: Mapping[str, list[str]] = kept["kinds"]
        self.private: list[str] = kept["private"]
        self._bars = {
            head: {language: Bar(**bar) for language, bar in bars.items()} for head, bars in kept["bars"].items()
        }
        ends = np.cumsum([len(kinds) for kinds in self.kinds.values()])
        self._heads = {
            head: slice(int(end) - len(kinds), int(end))
            for (head, kinds), end in zip(self.kinds.items(), ends, strict=True)
        }
        tables = [_table(file) for file in sorted(folder.glob("pieces-*.npz"))]
        self._nets, self._table = len(tables), np.concatenate(tables, 1)  # side by side: one look-up for all networks
        self._session = _session(folder / "network.onnx")
        self._silence = self._silent()
        self._word = lru_cache(maxsize=_CACHED)(self._vector)

    def bar(self, head: str, language: str) -> Bar:
        """The bar of a head in a language; in another one than those it learned, the highest of them."""
        bars = self._bars[head]
        return bars.get(language) or max(bars.values(), key=lambda bar: bar.alone)

    def told(self, head: str, text: Plain, before: Plain, side: Side, memo: Memo) -> tuple[Array, Array]:
        """How likely each kind of the head is, in the piece of the text where "none" is least; and what that means.

        memo: where what was read is kept for others who ask.
        """
        where = self._heads[head]
        likeliest = min(self.reads(text, before, side, memo), key=lambda read: float(read.kinds[where.start]))
        return likeliest.kinds[where], likeliest.meaning

    def reads(self, text: Plain, before: Plain, side: Side, memo: Memo) -> list[Read]:
        """The text, piece by piece, each in the light of what the other side had said before."""
        key = ("read", side, text.text, before.text)
        found: list[Read] | None = memo.get(key)
        if found is None:
            said = earlier(before)
            found = memo[key] = [self._read(said, piece, side) for piece in _pieces(words(text))]
        return found

    def _read(self, said: list[Word], heard: list[Word], side: Side) -> Read:
        if not heard:
            return self._silence
        x = np.stack([self._word(word.key) for word in (*said, *heard)], 1)
        who, where = standing(len(said), len(heard), side)
        own = np.arange(len(said), len(who))
        kinds, tags, meaning = self._session.run(None, {"words": x, "who": who, "where": where, "own": own})
        return Read(heard, kinds, tags, meaning)

    def _silent(self) -> Read:
        kinds = np.zeros(sum(map(len, self.kinds.values())), np.float32)
        kinds[[where.start for where in self._heads.values()]] = 1
        no_meaning = np.zeros(self._session.get_outputs()[2].shape, np.float32)
        return Read([], kinds, np.zeros((0, len(self.private)), np.float32), no_meaning)

    def _vector(self, key: str) -> Array:
        """The word for each network: the mean of its pieces'."""
        mean: Array = self._table[pieces(key)].mean(0, dtype=np.float32)
        return mean.reshape(self._nets, -1)


def _table(file: Path) -> NDArray[np.float16]:
    with np.load(file, allow_pickle=False) as kept:
        table: NDArray[np.float16] = (kept["rows"] * kept["scale"][:, None]).astype(np.float16)
    return table


def _session(file: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # a sentence is too short to be shared
    options.log_severity_level = 3
    return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _pieces(heard: list[Word]) -> list[list[Word]]:
    """A long text's words in pieces that lie over each other; a short one's together."""
    if len(heard) <= LONGEST:
        return [heard]
    return [heard[start : start + _AT_ONCE] for start in range(0, len(heard) - _AT_ONCE + _STEP, _STEP)]


@cache
def shipped() -> Model:
    """The model that ships with Kindrail."""
    return Model(_FOLDER)
