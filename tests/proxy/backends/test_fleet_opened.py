"""The servers as the configuration opens them, over real sockets: which they are, their keys, and what the log tells."""

import logging
import time
from contextlib import suppress

import pytest
from fake_upstream import DONE, HELLO, VLLM, no_head, no_second_event, refuses, says, upstream
from many import TALK, ask, said

from proxy.backends import open_backend
from proxy.backends.fleet import Fleet
from proxy.backends.litellm import LiteLLMBackend
from proxy.config import BackendEntry, Config, ConfigFault
from proxy.turn import Ask, BackendFault


def entry(**fields):
    return BackendEntry.model_validate(fields)


async def test_a_fleet_of_real_servers_goes_on_when_one_falls():
    listed = VLLM | {"/v1/models": (200, b'{"data": [{"id": "tiny"}]}')}
    async with upstream(refuses(503, b""), listed) as broken, upstream(says(*HELLO, DONE), listed) as well:
        entries = [
            entry(url=broken.url),
            entry(url=f"{well.url}/v1", kind="vllm", api_key="k", rename={"app": "tiny"}),
            entry(url="http://127.0.0.1:9"),
        ]
        many = open_backend(Config(backends=entries))
        body = {"model": "tiny", "messages": [], "stream": True}
        deltas = [delta async for delta in many.stream(Ask(body, session=TALK))]
        renamed = [delta async for delta in many.stream(Ask(body | {"model": "app"}))]
        models = await many.models()
        await many.close()
    text = [delta.event["choices"][0]["delta"]["content"] for delta in deltas[:3]]
    assert (text, len(renamed)) == (["", "Hel", "lo"], 4)
    assert (len(broken.chats), len(well.chats)) == (1, 2)
    assert well.chats[1].body["model"] == "tiny"
    assert well.chats[0].headers["authorization"] == "Bearer k"
    assert "authorization" not in broken.chats[0].headers
    assert [model["id"] for model in models["data"]] == ["tiny", "app"]


async def test_each_server_has_its_own_patience():
    async with upstream(no_second_event, VLLM) as slow:
        general = {"between_tokens_timeout": "30s", "backends": [{"url": slow.url, "between_tokens_timeout": "50ms"}]}
        many = open_backend(Config.model_validate(general))
        deltas = many.stream(Ask({"messages": [], "stream": True}))
        await anext(deltas)
        with pytest.raises(BackendFault) as caught:
            await anext(deltas)
        await many.close()
    assert caught.value.error["code"] == "backend_timeout"
    assert "0.05 s" in str(caught.value)


async def test_silent_servers_do_not_add_up():
    listed = VLLM | {"/v1/models": (200, b'{"data": [{"id": "tiny"}]}')}
    async with upstream(no_head, listed) as one, upstream(no_head, listed) as two:
        entries = [entry(url=server.url) for server in (one, two)]
        many = open_backend(Config(backends=entries, first_token_timeout="700ms"))
        began = time.monotonic()
        with pytest.raises(BackendFault, match=r"nothing within 0\.7 s"):
            await said(many, "tiny")
        took = time.monotonic() - began
        await many.close()
    assert (took < 1.3, len(one.chats) + len(two.chats)) == (True, 1)


async def test_what_the_configuration_opens():
    many = open_backend(
        Config(backends=[entry(kind="litellm", models=["a/*", "b", "c/d"], rename={"b": "x/b", "e": "c/d"})])
    )
    assert isinstance(many, Fleet)
    assert [model["id"] for model in (await many.models())["data"]] == ["c/d", "b", "e"]
    await many.close()
    assert await many.health() == {"backends[0]": "unknown"}
    (member,) = many._members
    assert (member.place, type(member.backend)) == ("backends[0]", LiteLLMBackend)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backends": [entry(url="http://a", api_key="${KR_A}"), entry(url="http://b", api_key="x-${KR_B}")]},
         "backends[1].api_key: KR_B is not set in the environment"),
        ({"backend_url": "http://a", "backend_api_key": "${KR_B}"}, "backend_api_key: KR_B is not set"),
        ({"backend_url": "http://a", "backend_api_key": "x${KR-A}"}, "backend_api_key: has a `${` that names no variable"),
    ],
)  # fmt: skip
def test_a_secret_is_looked_for_when_it_is_needed(monkeypatch, settings, message):
    monkeypatch.setenv("KR_A", "s3cret")
    monkeypatch.delenv("KR_B", raising=False)
    with pytest.raises(ConfigFault) as caught:
        open_backend(Config.model_validate(settings))
    assert message in str(caught.value)
    assert "s3cret" not in str(caught.value)


async def test_a_secret_may_stand_in_a_variable(monkeypatch):
    monkeypatch.setenv("KR_A", "s3cret")
    async with upstream(says(*HELLO, DONE), VLLM) as one:
        for settings in (
            {"backends": [entry(url=one.url, api_key="${KR_A}")]},
            {"backend_url": one.url, "backend_api_key": "${KR_A}"},
        ):
            many = open_backend(Config.model_validate(settings))
            await said(many, "")
            await many.close()
    assert [asked.headers["authorization"] for asked in one.chats] == ["Bearer s3cret"] * 2


async def test_of_the_one_server_the_log_tells_when_it_falls_and_when_it_is_back(caplog):
    caplog.set_level(logging.INFO, "kindrail")
    answers = [refuses(503, b""), refuses(401, b""), refuses(400, b""), says(*HELLO, DONE), refuses(500, b"")]
    left = iter(answers)

    async def next_one(wire):
        await next(left)(wire)

    async with upstream(next_one, VLLM) as one:
        alone = open_backend(Config(backend_url=one.url))
        for _ in answers:
            with suppress(BackendFault):
                await said(alone, "")
        await alone.close()
    name = f"the model server of KINDRAIL_BACKEND_URL ({one.url.removeprefix('http://')})"
    falls, back = "does not answer as it should ({}): check its address, its key and itself", "answers again"
    assert [record.message for record in caplog.records] == [
        f"{name} {what}" for what in (falls.format(503), back, falls.format(500))
    ]


async def test_an_app_is_told_of_the_log_which_names_the_server_without_credentials(caplog):
    alone = open_backend(Config(backend_url="http://me:s3cret@127.0.0.1:9/v1"))
    for work in (said(alone), alone.models(), alone.whole(ask())):
        with pytest.raises(BackendFault) as caught:
            await work
        assert str(caught.value) == "The model server cannot be reached. The operator's log names it."
        assert (caught.value.status, caught.value.error["code"]) == (502, "backend_unreachable")
    await alone.close()
    assert [record.message for record in caplog.records] == [
        "the model server of KINDRAIL_BACKEND_URL (127.0.0.1:9/v1) does not answer as it should (backend_unreachable):"
        " check its address, its key and itself"
    ]
