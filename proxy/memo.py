"""What was found in a message need not be found again: the cost of a turn does not grow with the conversation."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b

from proxy.turn import Span


class Memo:
    """The spans found in messages already judged, least recently used out first. Keys are digests: no text is kept.

    The spans in a message depend on who sent it, what they sent just before and behind it, and the policy's version; so
    does the key. Equal keys give equal spans, so that sharing them between sessions tells nobody anything.
    """

    def __init__(self, size: int = 50_000) -> None:
        self._size = size
        self._spans: OrderedDict[bytes, tuple[Span, ...]] = OrderedDict()

    @staticmethod
    def key(*parts: str) -> bytes:
        """The digest of the parts and their bounds."""
        digest = blake2b(digest_size=16)
        for part in parts:
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(4, "big") + data)
        return digest.digest()

    def get(self, key: bytes) -> tuple[Span, ...] | None:
        """The spans of a message judged before, or None."""
        spans = self._spans.get(key)
        if spans is not None:
            self._spans.move_to_end(key)
        return spans

    def put(self, key: bytes, spans: tuple[Span, ...]) -> None:
        """Keeps the spans of a message."""
        self._spans[key] = spans
        if len(self._spans) > self._size:
            self._spans.popitem(last=False)
