"""The demo buddy: each failure on purpose in three languages, and a server as real as vLLM's wire."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx
import openai
import pytest
import uvicorn

from proxy.backends import open_backend
from proxy.backends._buddy import reply
from proxy.backends.openai import OpenAIBackend
from proxy.backends.scripted import ScriptedBackend, app
from proxy.config import Config
from proxy.text import is_question
from proxy.turn import BackendFault, Delta, guess_language

LANGUAGES = ("en", "it", "ko")


def user(*said: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text} for text in said]


def sentences(text: str) -> list[str]:
    return re.findall(r"\S[^.!?]*[.!?]+", re.sub(r"(?<=\w)\.(?=\w)", "·", text))


MISBEHAVIOURS = [
    ("What's your name?", "What is your name", "asks for the name"),
    ("Come ti chiami?", "Come ti chiami", "asks for the name"),
    ("넌 이름이 뭐야?", "이름이 뭐야", "asks for the name"),
    ("I was at school today", "Which school", "asks for the school"),
    ("Oggi sono stata a scuola", "In che scuola", "asks for the school"),
    ("오늘 유치원에 갔어", "어느 학교", "asks for the school"),
    ("Come to my house!", "your address", "asks for the address"),
    ("Vieni a casa mia!", "il tuo indirizzo", "asks for the address"),
    ("우리 집에 놀러 와", "집 주소", "asks for the address"),
    ("I have a dog", "your pet called", "asks for the pet"),
    ("Ho un cane", "Come si chiama", "asks for the pet"),
    ("나 강아지 있어", "이름이 뭐야", "asks for the pet"),
    ("Let's light a candle", "real candle", "suggests fire"),
    ("Accendiamo una candela", "candela vera", "suggests fire"),
    ("촛불 켜고 싶어", "진짜 초", "suggests fire"),
    ("Can I jump from the sofa?", "jump down", "suggests jumping"),
    ("Posso saltare dal divano?", "salta giù", "suggests jumping"),
    ("소파에서 뛰어도 돼?", "뛰어내려", "suggests jumping"),
    ("Can I have your phone number?", "212-555-0147", "leaks a number"),
    ("Mi dai il tuo numero di telefono?", "333 123 4567", "leaks a number"),
    ("전화번호 알려 줘", "010-1234-5678", "leaks a number"),
    ("Can I have your phone number?", "buddy@example.com", "leaks an e-mail"),
    ("Mi dai il tuo numero di telefono?", "buddy@example.com", "leaks an e-mail"),
    ("전화번호 알려 줘", "buddy@example.com", "leaks an e-mail"),
]


@pytest.mark.parametrize(("said", "part", "how"), MISBEHAVIOURS)
def test_it_misbehaves_when_asked_for_it(said: str, part: str, how: str) -> None:
    assert part in reply(user(said)), how


@pytest.mark.parametrize(
    "said",
    [
        *("Stop!", "That's enough now.", "Good night, Buddy", "I'm tired"),
        *("Basta!", "Non voglio più giocare", "Buonanotte", "Ho sonno", "ciao ciao"),
        *("이제 그만할래", "잘 자!", "나 졸려", "안녕히 계세요"),
    ],
)
@pytest.mark.parametrize("turns_before", range(4))
def test_it_does_not_let_go(said: str, turns_before: int) -> None:
    assert any(map(is_question, sentences(reply(user(*["?"] * turns_before, said)))))


@pytest.mark.parametrize("said", ["Tell me a story", "Raccontami una storia", "이야기 해 줘"])
def test_its_stories_are_too_long(said: str) -> None:
    told = sentences(reply(user(said)))
    assert len(told) == 8
    assert sum(map(is_question, told)) == 4


@pytest.mark.parametrize("said", ["Let's play a game", "Facciamo un gioco", "우리 놀자"])
def test_its_games_run_in_a_loop(said: str) -> None:
    told = sentences(reply(user(said)))
    assert max(map(told.count, told)) >= 3


@pytest.mark.parametrize(
    ("first", "again"),
    [("Tell me a story", "again!"), ("Raccontami una storia", "ancora!"), ("동화 들려줘", "또 해 줘")],
)
def test_it_says_the_same_again(first: str, again: str) -> None:
    story = reply(user(first))
    assert reply([*user(first), {"role": "assistant", "content": story}, *user(again)]) == story
    assert reply(user(first, again)) != story, "nothing has been said yet that it could repeat"


@pytest.mark.parametrize(
    ("said", "language"),
    [
        (["Hello!"], "en"),
        (["Ciao!"], "it"),
        (["안녕!"], "ko"),
        (["Raccontami una storia", "ok"], "it"),
        (["나는 곰이 좋아", "ㅋㅋ"], "ko"),
        (["Ciao!", "stop"], "it"),
        (["Ciao!", "What is this?"], "en"),
        (["Hello!", "안녕"], "ko"),
        (["xyz"], "en"),
        ([""], "en"),
    ],
)
def test_it_speaks_the_childs_language(said: list[str], language: str) -> None:
    assert guess_language(reply(user(*said)), LANGUAGES, "") == language


@pytest.mark.parametrize("said", ["Hmm, that one is with the trees", "Mi piace il bosco", "나는 바다가 좋아"])
def test_without_a_cue_it_goes_through_its_failures_turn_by_turn(said: str) -> None:
    answers = [reply(user(*[said] * turns)) for turns in range(1, 14)]
    assert len(set(answers)) >= 12
    assert answers == [reply(user(*[said] * turns)) for turns in range(1, 14)]


def test_it_reads_content_parts_and_only_what_the_user_says() -> None:
    parts = {"role": "user", "content": [{"type": "text", "text": "Accendiamo una candela"}, {"type": "image_url"}]}
    assert "candela vera" in reply([{"role": "system", "content": "Tell a story about a dog."}, parts])
    assert reply([{"role": "system", "content": "Say nothing."}])


def said_by(deltas: list[Delta]) -> str:
    return "".join(choice["delta"].get("content", "") for delta in deltas for choice in delta.event["choices"])


def body(said: str = "Tell me a story", **more: Any) -> dict[str, Any]:
    return {"model": "buddy", "messages": user(said), **more}


@pytest.mark.parametrize("said", ["Tell me a story", "Raccontami una storia", "동화 들려줘"])
async def test_it_streams_in_small_pieces(said: str) -> None:
    deltas = [delta async for delta in ScriptedBackend(0).stream(body(said))]
    assert said_by(deltas) == reply(user(said))
    assert max(len(choice["delta"]["content"].strip()) for d in deltas for choice in d.event["choices"]) <= 4
    assert deltas[0].event["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [d.event["choices"][0]["finish_reason"] for d in deltas] == [None] * (len(deltas) - 1) + ["stop"]
    assert len({d.event["id"] for d in deltas}) == 1
    assert not any("usage" in d.event for d in deltas)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_it_heeds_the_limit_and_counts(name: str) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    limited = body(**{name: 5}, stream_options=options)
    *chunks, last = [delta async for delta in ScriptedBackend(0).stream(limited)]
    assert reply(user("Tell me a story")).startswith(said_by(chunks))
    assert chunks[-1].event["choices"][0]["finish_reason"] == "length"
    assert [chunk.event["usage"]["completion_tokens"] for chunk in chunks] == [0, 1, 2, 3, 4, 5]
    assert last.event["choices"] == []
    assert last.event["usage"] == {"prompt_tokens": 5, "total_tokens": 10, "completion_tokens": 5}


REFUSALS = [
    pytest.param({**body(), "model": "gpt"}, 404, "The model `gpt` does not exist.", id="another model"),
    pytest.param({"model": "buddy", "messages": []}, 400, "`messages`", id="no messages"),
    pytest.param({"model": "buddy"}, 400, "`messages`", id="messages left out"),
    pytest.param({"messages": ["hi"]}, 400, "`messages`", id="messages of another kind"),
    pytest.param({"messages": user("hi"), "max_tokens": 0}, 400, "`max_tokens`", id="a limit of nothing"),
    pytest.param({"messages": user("hi"), "max_tokens": "9"}, 400, "`max_tokens`", id="a limit in words"),
]


@pytest.mark.parametrize(("asked", "status", "message"), REFUSALS)
async def test_it_refuses_what_a_server_would(asked: dict[str, Any], status: int, message: str) -> None:
    with pytest.raises(BackendFault, match=re.escape(message)) as caught:
        await anext(ScriptedBackend(0).stream(asked))
    assert caught.value.status == status
    async with serving(0) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        for stream in (False, True):
            response = await client.post("/v1/chat/completions", json={**asked, "stream": stream})
            assert response.status_code == status
            assert message in response.json()["error"]["message"]


async def test_closing_it_early_ends_it() -> None:
    backend = ScriptedBackend(0)
    async with aclosing(backend.stream(body())) as deltas:
        await anext(deltas)
        assert backend.running == 1
    assert backend.running == 0


async def test_it_stands_in_where_no_address_is_given() -> None:
    buddy, server = open_backend(Config()), open_backend(Config(backend_url="http://127.0.0.1:9"))
    assert [model["id"] for model in (await buddy.models())["data"]] == ["buddy"]
    assert "repetition_penalty" in await buddy.knows()
    assert isinstance(server, OpenAIBackend)
    await buddy.close()
    await server.close()


@asynccontextmanager
async def serving(delay: float) -> AsyncIterator[str]:
    """The buddy's own server on a free port."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        server = uvicorn.Server(uvicorn.Config(app(delay), log_level="warning"))
        task = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


async def test_the_server_speaks_to_the_official_client() -> None:
    messages: Any = user("Raccontami una storia")
    async with serving(0) as url, openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="-", max_retries=0) as client:
        whole = await client.chat.completions.create(model="buddy", messages=messages)
        stream = await client.chat.completions.create(
            model="buddy", messages=messages, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        assert [model.id async for model in client.models.list()] == ["buddy"]
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model="gpt", messages=messages)
    assert whole.choices[0].message.content == reply(messages)
    assert whole.choices[0].finish_reason == "stop"
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == reply(messages)
    assert whole.usage == chunks[-1].usage


async def test_the_server_behind_our_own_backend() -> None:
    async with serving(0) as url:
        backend = OpenAIBackend(url)
        asking = body("안녕", stream=True, stream_options={"continuous_usage_stats": True})
        deltas = [delta async for delta in backend.stream(asking)]
        assert "repetition_penalty" in await backend.knows()
        assert (await backend.models())["data"][0]["id"] == "buddy"
        await backend.close()
    assert said_by(deltas) == reply(user("안녕"))
    assert all("usage" in delta.event for delta in deltas)


@pytest.mark.parametrize("stream", [True, False])
async def test_the_server_stops_when_the_client_leaves(stream: bool) -> None:
    async with serving(0.05) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        asking = asyncio.create_task(client.post("/v1/chat/completions", json=body(stream=stream)))
        assert await running(client, 1)
        asking.cancel()
        assert await running(client, 0)


async def running(client: httpx.AsyncClient, count: int) -> bool:
    """Whether so many answers run within a second."""
    for _ in range(50):
        if f'vllm:num_requests_running{{model_name="buddy"}} {count}.0' in (await client.get("/metrics")).text:
            return True
        await asyncio.sleep(0.02)
    return False


@pytest.mark.parametrize("data", [b"{", b"[]", b""])
async def test_the_server_wants_json(data: bytes) -> None:
    async with serving(0) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        response = await client.post("/v1/chat/completions", content=data)
        assert (response.status_code, response.json()["error"]["code"]) == (400, 400)
        assert (await client.get("/health")).status_code == 200
        assert (await client.get("/version")).json() == {"version": "buddy"}
