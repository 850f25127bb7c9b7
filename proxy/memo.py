"""What was found in a message need not be found again: the cost of a turn does not grow with the conversation."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b

from proxy.turn import Span


@dataclass(frozen=True, slots=True)
class Found:
    """What the model may not read of a message; `text`: what it reads in the message's place, where a rail wrote it."""

    spans: tuple[Span, ...] = ()
    text: str | None = None


class Memo:
    """What was found in messages already judged, least recently used out first. Keys are digests: of the messages
    themselves no text is kept, and what a rail wrote in their place stays in this process.

    What is found depends on who sent the message, what they sent just before and behind it, the policy's version and,
    where a rail looks at its session, on that; so does the key. Equal keys give equal answers, so that sharing them
    tells nobody anything.
    """

    def __init__(self, size: int = 50_000) -> None:
        self._size = size
        self._found: OrderedDict[bytes, Found] = OrderedDict()

    @staticmethod
    def key(*parts: str) -> bytes:
        """The digest of the parts and their bounds."""
        digest = blake2b(digest_size=16)
        for part in parts:
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(4, "big") + data)
        return digest.digest()

    def get(self, key: bytes) -> Found | None:
        """What was found in a message judged before, or None."""
        found = self._found.get(key)
        if found is not None:
            self._found.move_to_end(key)
        return found

    def put(self, key: bytes, found: Found) -> None:
        """Keeps what was found in a message."""
        self._found[key] = found
        if len(self._found) > self._size:
            self._found.popitem(last=False)
