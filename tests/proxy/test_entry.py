"""The door: how much of a request is read, what of it goes on to the backend, and what policy and key allow."""

from dataclasses import replace

import pytest
from fake_upstream import DONE, VLLM, chunk, says, upstream
from house import asking, house, shipped
from model import SAFE, Model

from proxy.access import Caller, Denied
from proxy.call import Call
from proxy.config import KeyEntry
from proxy.entry import Entry, check_model, permits
from proxy.keyring import hashed, new_key
from proxy.policy.schema import Parts
from proxy.wire.dialect import Chat
from proxy.wire.request import parse

KEY = new_key()


def entry(caller=None, session=None, **more):
    return Entry(
        "t1", caller or Caller(), shipped("general"), permits(shipped("general"), Caller()), b"", more, session, {}
    )


def chat(**more):
    body = asking(["Hello"], more)
    return replace(parse(b'{"messages": [{"role": "user", "content": "Hello"}]}', entry().permits), body=body)


# -- what policy and key allow -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ways", "allow", "passing"),
    [
        ({}, (), set()),
        ({}, ("image", "audio", "file"), set()),
        ({"image": "pass"}, (), {"image"}),
        ({"image": "keys"}, (), set()),
        ({"image": "keys"}, ("image",), {"image"}),
        ({"image": "keys", "audio": "keys"}, ("audio",), {"audio"}),
        ({"image": "pass", "audio": "keys", "file": "refuse"}, ("audio", "file"), {"image", "audio"}),
    ],
)
def test_parts_pass_where_policy_and_key_agree(ways, allow, passing):
    policy = replace(shipped("general"), parts=Parts(**ways))
    assert permits(policy, Caller(allow=frozenset(allow))).parts == passing


def test_tools_and_answers_are_the_policys_and_fields_the_keys():
    adults, children = permits(shipped("general"), Caller()), permits(shipped("kids-buddy"), Caller())
    assert adults.tool("get_weather")
    assert not children.tool("get_weather")
    assert (adults.choices > 1, children.choices) == (True, 1)
    assert permits(shipped("kids-buddy"), Caller(allow=frozenset({"echo"}))).fields == {"echo"}
    assert not children.fields


@pytest.mark.parametrize(
    ("globs", "model", "is_open"),
    [(("*",), "", True), (("*",), "org/a", True), (("a",), "b", False), (("a",), "", False), ((), "a", False), (("org/*",), "org/a/b", True)],
)  # fmt: skip
def test_models_that_the_key_opens(globs, model, is_open):
    if is_open:
        return check_model(Caller(models=globs), model)
    with pytest.raises(Denied) as denied:
        check_model(Caller(models=globs), model)
    assert (denied.value.status, denied.value.code, denied.value.param) == (404, "model_not_found", "model")


# -- the call ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "body", "kept", "named"),
    [
        (None, None, None, None),
        ("a", "b", "c", "a"),
        (None, "b", "c", "b"),
        (None, None, "c", "c"),
        ("", "", "c", "c"),
    ],
)
def test_the_conversations_name(header, body, kept, named):
    request = chat(metadata={"session_id": body})
    assert entry(session=header).call("chat.completions", request, Chat(), kept).named == named


def test_the_call_is_the_entrys():
    let_in = entry(**{"x-request-id": "r"})
    call = let_in.call("chat.completions", chat(stream=True), Chat())
    assert isinstance(call, Call)
    assert (call.turn, call.route, call.stream, call.keep) == ("t1", "chat.completions", True, None)
    assert (call.policy, call.caller, call.permits) == (let_in.policy, let_in.caller, let_in.permits)
    assert call.headers == {"x-request-id": "r"}


def test_a_model_that_the_key_does_not_open_makes_no_call():
    with pytest.raises(Denied):
        entry(Caller(models=("small",))).call("chat.completions", chat(model="large"), Chat())


# -- through the house -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("application/vnd.api+json", 200),
        (None, 200),
        ("text/plain", 415),
        ("text/plain;x=json", 415),
        ("application/x-json-form", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
    ],
)
async def test_the_kind_of_a_body(kind, status):
    raw = b'{"model": "m", "messages": [{"role": "user", "content": "Hello"}]}'
    async with house(Model(SAFE)) as home:
        headers = {} if kind is None else {"content-type": kind}
        response = await home.client.post("/v1/chat/completions", content=raw, headers=headers)
        assert response.status_code == status
        if status != 200:
            assert response.json()["error"]["code"] == "unsupported_media_type"


@pytest.mark.parametrize(
    ("of_house", "of_key", "limit"), [(2000, None, 2000), (2000, 1500, 1500), (1500, 2000, 1500)]
)  # fmt: skip
@pytest.mark.parametrize("pieces", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"])
async def test_a_body_is_read_no_further_than_house_and_key_allow(of_house, of_key, limit, pieces, path):
    """One byte more is too much, whether the length is told before or not."""

    async def cut(raw):
        for start in range(0, len(raw), 100):
            yield raw[start : start + 100]

    limits = {} if of_key is None else {"limits": {"body": of_key}}
    key = KeyEntry.model_validate({"id": "tablet", "hash": hashed(KEY), **limits})
    async with house(Model(SAFE), max_body=of_house, keys=[key]) as home:
        for size, code in ((limit, "invalid_json"), (limit + 1, "body_too_large")):
            raw = b"{" + b" " * (size - 1)
            headers = {"authorization": f"Bearer {KEY}"}
            response = await home.client.post(path, content=cut(raw) if pieces else raw, headers=headers)
            assert response.json()["error"]["code"] == code
            assert (response.status_code == 413) is (code == "body_too_large")


@pytest.mark.parametrize(
    ("name", "value", "passes"),
    [
        ("x-request-id", "abc-1", True),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", True),
        ("tracestate", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", True),
        ("x-request-id", "My name is Zoe", False),
        ("x-request-id", "", False),
        ("baggage", "user=zoe", False),
        ("authorization", "Bearer sk-abc", False),
        ("x-api-key", "abc", False),
        ("cookie", "a=b", False),
        ("x-kindrail-session", "tom", False),
        ("x-kindrail-subject", "tom", False),
    ],
)
async def test_headers_that_pass(name, value, passes):
    async with upstream(says(chunk("Hello.", "stop"), DONE), VLLM) as fake, house(backend_url=fake.url) as home:
        assert (await home.ask("Hello", headers={name: value})).status_code == 200
        assert fake.chats[0].headers.get(name) == (value if passes else None)


async def test_every_turn_has_an_id_of_its_own():
    async with house(Model(SAFE)) as home:
        turns = {(await home.ask("Hello")).headers["x-kindrail-turn"] for _ in range(3)}
        assert len(turns) == 3
        assert all(len(turn) == 24 for turn in turns)
