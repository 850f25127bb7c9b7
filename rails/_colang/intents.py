"""What users say in examples (`define user ...`), searched by likeness of letters: nothing to download, nothing sent.

It stands where NeMo would load an embedding model. Texts are compared by the pairs and triples of characters that they
share, rare ones counting more. Accents fall away and Korean syllables are taken apart, so that endings matter little.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest

_SIZES = (2, 3)  # characters
_READ = 2000  # characters of a text; no example is as long


@dataclass(frozen=True, slots=True)
class Example:
    """One example as NeMo reads a found one: its text, and `{"intent": ...}`."""

    text: str
    meta: dict[str, str]


class Intents:
    """The examples of a folder. intents: name -> what somebody says who means it."""

    def __init__(self, intents: Mapping[str, Sequence[str]]) -> None:
        self._examples = [Example(text, {"intent": name}) for name, texts in intents.items() for text in texts]
        counts = [_grams(example.text) for example in self._examples]
        spread = Counter(gram for count in counts for gram in count)
        self._rare = {gram: math.log(1 + len(counts) / times) for gram, times in spread.items()}
        self._where: dict[str, list[tuple[int, float]]] = defaultdict(list)  # gram -> (example, weight)
        for number, count in enumerate(counts):
            for gram, weight in self._weighed(count).items():
                self._where[gram].append((number, weight))

    async def search(self, text: str, max_results: int = 20, threshold: float | None = None) -> list[Example]:
        """The most alike examples, the best first, as NeMo asks for them.

        threshold: how alike they are at least, from 0 to 1 (the same text).
        """
        alike: dict[int, float] = defaultdict(float)
        for gram, weight in self._weighed(_grams(text[:_READ])).items():
            for number, other in self._where.get(gram, ()):
                alike[number] += weight * other
        found = [number for number, likeness in alike.items() if threshold is None or likeness >= threshold]
        return [self._examples[number] for number in nlargest(max_results, found, key=lambda n: (alike[n], -n))]

    def _weighed(self, count: Counter[str]) -> dict[str, float]:
        """The grams' weights, as a vector of length 1; one that no example has is as rare as can be."""
        rarest = math.log(1 + len(self._examples))
        weights = {gram: times * self._rare.get(gram, rarest) for gram, times in count.items()}
        length = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
        return {gram: weight / length for gram, weight in weights.items()}


def _grams(text: str) -> Counter[str]:
    return Counter(_cut(text))


def _cut(text: str) -> Iterator[str]:
    letters = (one for one in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(one))
    words = "".join(one if one.isalnum() else " " for one in letters).split()
    line = f" {' '.join(words)} " if words else ""
    for size in _SIZES:
        for start in range(len(line) - size + 1):
            yield line[start : start + size]
