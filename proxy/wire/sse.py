"""Server-sent events, read in pieces of any size and written whole.

Only `data` matters to chat streams: comments (keep-alives), `event`, `id` and `retry` are passed over. Line ends are
those of the HTML standard: `\\n`, `\\r\\n` or a lone `\\r`.
"""

from __future__ import annotations

DEFAULT_LIMIT = 4 * 1024 * 1024  # bytes of one event; a first chunk with the token ids of a long prompt takes about one


class EventTooLarge(ValueError):
    """An event grew over the reader's limit; the stream cannot be read on."""


class Reader:
    """Turns the bytes of one stream into the data of its events, and looks at each byte once, however it is cut."""

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []  # of the line that has not ended yet
        self._data: list[bytes] = []  # the data lines of the event that has not ended yet
        self._held = 0  # bytes in both
        self._after_return = False  # the last byte was `\r`: a `\n` that follows belongs to it

    def feed(self, data: bytes) -> list[bytes]:
        """The data of the events that `data` completes, oldest first. Raises `EventTooLarge`."""
        if not data:
            return []
        first, *others = self._with_plain_ends(data).split(b"\n")
        if not others:
            self._keep(first)
            return []
        *whole, rest = others
        events = [event for line in (self._rest_of_line(first), *whole) if (event := self._take(line)) is not None]
        self._keep(rest)
        return events

    def close(self) -> list[bytes]:
        """The event that the end of the stream completes, where no blank line followed it."""
        events = (self._take(self._rest_of_line(b"")), self._take(b""))
        return [event for event in events if event is not None]

    def _with_plain_ends(self, data: bytes) -> bytes:
        if self._after_return:
            data = data.removeprefix(b"\n")
        self._after_return = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._pieces.append(piece)
            self._grow(len(piece))

    def _rest_of_line(self, last: bytes) -> bytes:
        line = b"".join((*self._pieces, last))
        self._held -= len(line) - len(last)
        self._pieces.clear()
        return line

    def _take(self, line: bytes) -> bytes | None:
        """One whole line; the data of the event if the line ends one."""
        if not line:
            return self._finish()
        if line.startswith(b"data:"):
            self._data.append(line[6:] if line.startswith(b"data: ") else line[5:])
            self._grow(len(line))
        elif line == b"data":
            self._data.append(b"")
        return None

    def _finish(self) -> bytes | None:
        if not self._data:
            return None
        event = b"\n".join(self._data)
        self._data.clear()
        self._held = 0
        return event

    def _grow(self, count: int) -> None:
        self._held += count
        if self._held > self._limit:
            raise EventTooLarge(f"an event of the stream is larger than {self._limit} bytes")


def encode(payload: bytes) -> bytes:
    """One event with `payload` as its data; the inverse of `Reader`."""
    return b"data: " + payload.replace(b"\n", b"\ndata: ") + b"\n\n"
