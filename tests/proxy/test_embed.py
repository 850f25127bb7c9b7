"""/v1/embeddings through the whole house: what the model may read of a text, what comes back, and the record of it."""

import json
from dataclasses import replace

import openai
import pytest
from fake_upstream import VLLM, refuses, upstream
from house import house, shipped

from proxy.config import KeyEntry
from proxy.keyring import hashed, new_key
from proxy.store import StoreDown

KEY = new_key()
MAIL = "zoe.baker@example.com"


async def embeds(wire):
    said = wire.asked.body["input"]
    count = 1 if isinstance(said, str) else len(said)
    data = [{"object": "embedding", "index": n, "embedding": [0.5, n], "text": "Zebra"} for n in range(count)]
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    body = {"object": "list", "data": data, "model": "m", "usage": usage, "note": "a Zebra", "id": "e-1"}
    await wire.head(200, "application/json")
    await wire.send(json.dumps(body).encode())
    await wire.end()


async def post(home, said="Hello", **more):
    return await home.client.post("/v1/embeddings", json={"model": "m", "input": said, **more})


@pytest.mark.parametrize("said", [f"Write to {MAIL}", [f"Write to {MAIL}", "The bear slept."]])
async def test_a_datum_does_not_reach_the_model(said):
    async with upstream(embeds, VLLM) as fake, house(backend_url=fake.url, policy="general") as home:
        response = await post(home, said)
        assert response.status_code == 200
        (asked,) = fake.chats
        assert asked.path == "/v1/embeddings"
        assert MAIL not in json.dumps(asked.body)
        assert type(asked.body["input"]) is type(said)
        if isinstance(said, list):
            assert asked.body["input"][1] == "The bear slept."
            assert len(response.json()["data"]) == 2


async def test_the_answer_is_without_what_could_be_text():
    async with upstream(embeds, VLLM) as fake, house(backend_url=fake.url) as home:
        response = await post(home, encoding_format="float", dimensions=2)
        assert "Zebra" not in response.text
        told = response.json()
        assert told["data"] == [{"object": "embedding", "index": 0, "embedding": [0.5, 0]}]
        assert (told["object"], told["model"], told["usage"]) == ("list", "m", {"prompt_tokens": 5, "total_tokens": 5})
        asked = fake.chats[0].body
        assert (asked["encoding_format"], asked["dimensions"]) == ("float", 2)
        assert "stream" not in asked


async def test_openais_client():
    async with (
        upstream(embeds, VLLM) as fake,
        house(backend_url=fake.url) as home,
        openai.AsyncOpenAI(base_url=f"{home.url}/v1", api_key="none", max_retries=0) as client,
    ):
        told = await client.embeddings.create(model="m", input=["a", "b"], encoding_format="float")
    assert [one.embedding for one in told.data] == [[0.5, 0], [0.5, 1]]
    assert told.usage.total_tokens == 5


async def test_what_the_rails_say_is_recorded_and_nothing_is_said():
    async with upstream(embeds, VLLM) as fake, house(backend_url=fake.url) as home:
        response = await post(home, "I want to kill myself")
        assert response.status_code == 200
        (turn,) = await home.audit(response.headers["x-kindrail-turn"])
        assert response.headers["x-kindrail-policy"] == "kids-buddy@1"
        assert (turn.opened["route"], turn.closed["outcome"]) == ("embeddings", "answered")
        assert "crisis" in {verdict["rail"] for verdict in turn.closed["verdicts"]}
        assert turn.closed["usage"] == {"prompt_tokens": 5, "total_tokens": 5}
        assert turn.texts == ()


async def test_it_leaves_no_session():
    async with upstream(embeds, VLLM) as fake, house(backend_url=fake.url) as home:
        await post(home, metadata={"session_id": "tom"})
        keys = [key async for key in home.services.store.redis.scan_iter("kindrail:*")]
        assert not [key for key in keys if key.startswith((b"kindrail:session", b"kindrail:said", b"kindrail:run:"))]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"input": []}, "invalid_type"),
        ({"input": [1, 2]}, "unsupported_value"),
        ({"input": [[1, 2]]}, "unsupported_value"),
        ({"input": None}, "invalid_type"),
        ({"messages": [{"role": "user", "content": "a"}]}, "unsupported_parameter"),
        ({"input": ["a"] * 2049}, "invalid_value"),
        ({"input": "x" * 32_001}, "message_too_long"),
        ({"metadata": {"session_id": "x" * 201}}, "invalid_session"),
    ],
)
async def test_what_is_refused(body, code):
    async with upstream(embeds, VLLM) as fake, house(backend_url=fake.url) as home:
        response = await home.client.post("/v1/embeddings", json={"model": "m", "input": "Hello", **body})
        assert (response.status_code, response.json()["error"]["code"]) == (400, code)
        assert not fake.chats
        assert await home.audit() == []


async def test_the_backends_fault_passes_and_is_recorded():
    error = b'{"error": {"message": "too long", "type": "BadRequestError", "code": 400}}'
    async with upstream(refuses(400, error), VLLM) as fake, house(backend_url=fake.url) as home:
        response = await post(home)
        assert (response.status_code, response.json()["error"]["message"]) == (400, "too long")
        (turn,) = await home.audit()
        assert turn.closed["outcome"] == "backend_failed"


async def test_a_backend_that_embeds_nothing():
    async with house() as home:
        response = await post(home, model="buddy")
        assert response.status_code == 404
        assert "embeddings" in response.json()["error"]["message"]


class Breaks:
    """A rail that always fails."""

    content, shape, needs = frozenset({"user"}), frozenset(), "sentence"

    async def check(self, segment):
        raise RuntimeError


@pytest.mark.parametrize(("when_broken", "status"), [("closed", 503), ("open", 200)])
async def test_a_text_that_no_rail_could_judge(when_broken, status):
    general = shipped("general")
    rails = tuple(replace(bound, rail=Breaks()) if bound.id == "injection" else bound for bound in general.rails)
    policy = replace(general, when_broken=when_broken, rails=rails)
    async with upstream(embeds, VLLM) as fake, house(backend_url=fake.url, policy=policy) as home:
        response = await post(home)
        assert response.status_code == status
        assert len(fake.chats) == (status == 200)
        (turn,) = await home.audit()
        assert turn.closed["outcome"] == ("answered" if status == 200 else "failed")
        if status == 503:
            assert response.json()["error"]["code"] == "rail_broken"


async def test_without_a_store_nothing_is_embedded(monkeypatch):
    async def gone(self, commands):
        raise StoreDown(ConnectionError())

    async with upstream(embeds, VLLM) as fake, house(backend_url=fake.url) as home:
        with monkeypatch.context() as patch:
            patch.setattr(type(home.services.store), "run", gone)
            response = await post(home)
        assert (response.status_code, response.json()["error"]["code"]) == (503, "store_unavailable")
        assert not fake.chats


async def test_its_tokens_are_the_keys():
    key = KeyEntry.model_validate({"id": "tablet", "hash": hashed(KEY), "limits": {"tokens": 5, "concurrency": 1}})
    async with upstream(embeds, VLLM) as fake, house(backend_url=fake.url, keys=[key]) as home:
        home.client.headers["authorization"] = f"Bearer {KEY}"
        assert (await post(home)).headers["x-ratelimit-remaining-tokens"] == "5"
        limited = await post(home)
        assert (limited.status_code, limited.json()["error"]["type"]) == (429, "tokens")
        assert len(await home.audit()) == 1
