"""How /v1/chat/completions is told: as it is, byte for byte."""

import json

from proxy.turn import Delta
from proxy.wire.dialect import Chat


def test_events_leave_with_the_bytes_they_came_with():
    raws = [b'{"choices": [ ]}', '{"x":"안녕"}'.encode()]
    told = Chat().events([Delta(raw, {}) for raw in raws])
    assert told == b"".join(b"data: " + raw + b"\n\n" for raw in raws)
    assert Chat().events([]) == b""


def test_the_end_and_the_breaking_off():
    assert Chat().done() == b"data: [DONE]\n\n"
    error, done = Chat().broke({"message": "Zebra\n", "code": None}).removesuffix(b"\n\n").split(b"\n\n")
    assert json.loads(error.removeprefix(b"data: ")) == {"error": {"message": "Zebra\n", "code": None}}
    assert done == b"data: [DONE]"


def test_nothing_is_translated():
    delta, body = Delta(b"{}", {}), {"choices": []}
    assert Chat().arrived(delta) is delta
    assert Chat().whole(body) is body
    assert Chat.route == "chat/completions"
