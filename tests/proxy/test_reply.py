"""Replies, seen from the server's side: what is sent, when, and what a fault becomes."""

import asyncio

import orjson
import pytest

from proxy.reply import Fault, StreamReply, WholeReply
from proxy.turn import Delta
from proxy.wire.dialect import Chat

HEADERS = {"x-kindrail-turn": "t1"}
FAULT = {"message": "engine dead", "type": "upstream_error", "param": None, "code": None}
NEVER = 60.0


class Wire:
    """Takes what is sent; `slow` seconds for each piece."""

    def __init__(self, slow=0.0):
        self.sent = []
        self._slow = slow

    async def __call__(self, message):
        await asyncio.sleep(self._slow)
        self.sent.append(message)

    @property
    def head(self):
        (start,) = [message for message in self.sent if message["type"] == "http.response.start"]
        assert self.sent[0] is start
        return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}

    @property
    def pieces(self):
        return [message["body"] for message in self.sent if message["type"] == "http.response.body"]

    @property
    def ended(self):
        return [message.get("more_body", False) for message in self.sent[1:]][-1:] == [False]


def delta(text, raw=None):
    event = {"id": "c", "choices": [{"index": 0, "delta": {"content": text}}]}
    return Delta(raw or orjson.dumps(event), event)


async def test_a_stream_sends_nothing_before_its_first_event():
    wire = Wire()
    reply = StreamReply(wire, HEADERS, Chat(), keep_alive=0.01)
    await reply.events([])
    await asyncio.sleep(0.05)
    assert (wire.sent, reply.started) == ([], False)
    reply.close()


async def test_a_stream_sends_the_bytes_that_came():
    wire = Wire()
    reply = StreamReply(wire, HEADERS, Chat(), NEVER)
    await reply.events([delta("a", b'{"a" :1}'), delta("b", b'{"b":\n2}')])
    await reply.events([delta("c", b"{}")])
    assert reply.started
    assert not wire.ended
    await reply.done()
    assert wire.pieces == [b'data: {"a" :1}\n\ndata: {"b":\ndata: 2}\n\n', b"data: {}\n\n", b"data: [DONE]\n\n"]
    assert wire.ended
    status, headers = wire.head
    assert (status, headers["x-kindrail-turn"]) == (200, "t1")
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-cache", "no")


async def test_a_stream_without_events_is_still_a_stream():
    wire = Wire()
    await StreamReply(wire, HEADERS, Chat(), NEVER).done()
    assert (wire.head[0], wire.pieces, wire.ended) == (200, [b"data: [DONE]\n\n"], True)


@pytest.mark.parametrize("end", ["done", "fault", "close"])
async def test_comments_come_in_silence_alone_and_stop_at_the_end(end):
    wire = Wire()
    reply = StreamReply(wire, HEADERS, Chat(), keep_alive=0.2)
    await reply.events([delta("a")])
    for _ in range(4):
        await asyncio.sleep(0.1)
        await reply.events([delta("b")])
    assert b": keep-alive\n\n" not in wire.pieces
    await asyncio.sleep(0.5)
    assert wire.pieces[5:] == [b": keep-alive\n\n"] * 2
    await {"done": reply.done, "fault": lambda: reply.fault(Fault(500, FAULT)), "close": lambda: asyncio.sleep(0)}[
        end
    ]()
    reply.close()
    count = len(wire.sent)
    await asyncio.sleep(0.3)
    assert len(wire.sent) == count


async def test_nothing_follows_the_end_though_a_comment_was_under_way():
    wire = Wire(slow=0.05)
    reply = StreamReply(wire, HEADERS, Chat(), keep_alive=0.02)
    await reply.events([delta("a")])
    await asyncio.sleep(0.04)  # the comment's own sending takes longer than this
    await reply.done()
    await asyncio.sleep(0.1)
    assert (wire.pieces[-1], wire.ended) == (b"data: [DONE]\n\n", True)


@pytest.mark.parametrize("kind", ["stream", "whole"])
async def test_a_fault_before_the_answer_is_a_status(kind):
    wire = Wire()
    reply = StreamReply(wire, HEADERS, Chat(), NEVER) if kind == "stream" else WholeReply(wire, HEADERS, Chat())
    await reply.fault(Fault(429, FAULT))
    status, headers = wire.head
    assert (status, headers["content-type"], headers["x-kindrail-turn"]) == (429, "application/json", "t1")
    (body,) = wire.pieces
    assert orjson.loads(body) == {"error": FAULT}
    assert (headers["content-length"], wire.ended) == (str(len(body)), True)
    reply.close()


async def test_a_fault_within_a_stream_is_its_last_event():
    wire = Wire()
    reply = StreamReply(wire, HEADERS, Chat(), NEVER)
    await reply.events([delta("a")])
    await reply.fault(Fault(500, FAULT))
    assert wire.head[0] == 200
    assert wire.pieces[1:] == [b"data: " + orjson.dumps({"error": FAULT}) + b"\n\ndata: [DONE]\n\n"]
    assert wire.ended


async def test_a_fault_after_collected_events_sends_none_of_them():
    wire = Wire()
    reply = WholeReply(wire, HEADERS, Chat())
    await reply.events([delta("Zebra")])
    await reply.fault(Fault(500, FAULT))
    assert wire.head[0] == 500
    assert b"Zebra" not in b"".join(wire.pieces)


async def test_a_whole_answer_is_one_body():
    wire = Wire()
    reply = WholeReply(wire, HEADERS, Chat())
    await reply.events([delta("Hel"), delta("lo")])
    assert (wire.sent, reply.started) == ([], False)
    await reply.done()
    status, headers = wire.head
    (body,) = wire.pieces
    assert (status, headers["content-type"], headers["x-kindrail-turn"]) == (200, "application/json", "t1")
    assert (headers["content-length"], reply.started, wire.ended) == (str(len(body)), True, True)
    assert orjson.loads(body)["choices"][0]["message"]["content"] == "Hello"
