"""The event reader: any chunking gives the same events, and nothing grows without bound."""

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.sse import EventTooLarge, Reader, encode


def read(pieces: Iterable[bytes], limit: int = 1000) -> list[bytes]:
    reader = Reader(limit)
    return [event for piece in pieces for event in reader.feed(piece)] + reader.close()


STREAMS = [
    pytest.param(b"", [], id="nothing"),
    pytest.param(b'data: {"a":1}\n\ndata: [DONE]\n\n', [b'{"a":1}', b"[DONE]"], id="vllm"),
    pytest.param(b'data:{"a":1}\n\ndata:[DONE]\n\n', [b'{"a":1}', b"[DONE]"], id="tgi, no space"),
    pytest.param(b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"], id="crlf"),
    pytest.param(b"data: a\r\rdata: b\r\r", [b"a", b"b"], id="lone cr"),
    pytest.param(b"data: a\r\n\ndata: b\n\r\n", [b"a", b"b"], id="mixed ends"),
    pytest.param(b"data:  a \n\n", [b" a "], id="only one space goes"),
    pytest.param(b"data: {\ndata:  1\ndata: }\n\n", [b"{\n 1\n}"], id="several data lines"),
    pytest.param(b"data\n\n", [b""], id="a field without a colon"),
    pytest.param(b"data: a\ndata\ndata: b\n\n", [b"a\n\nb"], id="an empty line of data"),
    pytest.param(b": keep-alive\n\n:\n\ndata: a\n: in between\n\n", [b"a"], id="comments"),
    pytest.param(b"event: message\nid: 7\nretry: 10\ndata: a\n\n", [b"a"], id="other fields"),
    pytest.param(b"event: ping\n\ndatabase: x\n\ndata: a\n\n", [b"a"], id="events without data"),
    pytest.param(b"\n\n\ndata: a\n\n\n\n", [b"a"], id="more blank lines"),
    pytest.param(b"data: a\n\ndata: b", [b"a", b"b"], id="cut off, no line end"),
    pytest.param(b"data: a\n\ndata: b\n", [b"a", b"b"], id="cut off, no blank line"),
    pytest.param("data: 안녕, è 🐻\n\n".encode(), ["안녕, è 🐻".encode()], id="not ASCII"),
]


@pytest.mark.parametrize(("stream", "events"), STREAMS)
def test_any_chunking_gives_the_same_events(stream: bytes, events: list[bytes]) -> None:
    assert read([stream]) == events
    assert read(stream[i : i + 1] for i in range(len(stream))) == events
    chance = random.Random(7)
    for _ in range(50):
        cuts = sorted(chance.randrange(len(stream) + 1) for _ in range(4))
        assert read(stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)) == events


def test_an_event_comes_with_its_blank_line_not_later() -> None:
    reader = Reader()
    assert reader.feed(b"data: a\n") == []
    assert reader.feed(b"\nda") == [b"a"]
    assert reader.feed(b"ta: b\r") == []
    assert reader.feed(b"\n\r\n") == [b"b"]


@given(st.lists(st.binary(min_size=1).filter(lambda data: b"\r" not in data), max_size=5))
def test_what_is_written_is_read_again(payloads: list[bytes]) -> None:
    assert read([b"".join(encode(payload) for payload in payloads)], limit=100_000) == payloads


@pytest.mark.parametrize(
    "stream",
    [b"data: " + b"x" * 1000, b"data: xxxxxxxxx\n" * 100, b":" + b"x" * 1001, b"data: " + b"x" * 1000 + b"\n\n"],
    ids=["one line", "many lines", "a comment", "whole in one piece"],
)
@pytest.mark.parametrize("step", [7, 10_000])
def test_an_event_over_the_limit_is_refused(stream: bytes, step: int) -> None:
    with pytest.raises(EventTooLarge, match="1000 bytes"):
        read(stream[i : i + step] for i in range(0, len(stream), step))


def test_the_limit_is_for_one_event_not_for_the_stream() -> None:
    assert read([b"data: 12345678\n\n", b": keep-alive\n"] * 500, limit=50) == [b"12345678"] * 500
    assert read([b"data: 123", b"45678\n", b": keep-alive", b"\n\n"] * 500, limit=50) == [b"12345678"] * 500
