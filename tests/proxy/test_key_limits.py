"""What a key may use, through the whole house: OpenAI's 429, slots that become free again, and who is heard all the same."""

import asyncio

import pytest
from fake_upstream import DONE, VLLM, chunk, says, upstream
from house import asking, assistant, house
from model import SAFE, Model

from proxy.config import KeyEntry
from proxy.keyring import hashed, new_key

KEY, OTHER = new_key(), new_key()
DANGER = "I want to kill myself"


def entry(key=KEY, id="tablet", **limits):
    return KeyEntry.model_validate({"id": id, "hash": hashed(key), "limits": limits})


def bearer(key=KEY):
    return {"authorization": f"Bearer {key}"}


def code(response):
    return response.status_code, response.json()["error"]["code"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"])
async def test_over_the_limit_is_openais_429(path, stream):
    said = {"/v1/chat/completions": asking(["Hello"], {}), "/v1/completions": {"prompt": "Hello"}}
    body = {"model": "buddy", "stream": stream, **said.get(path, {"input": "Hello"})}
    async with (
        upstream(embeds_or_says, VLLM) as fake,
        house(backend_url=fake.url, keys=[entry(requests=1)]) as home,
    ):
        first = await home.client.post(path, json=body, headers=bearer())
        assert first.status_code == 200, first.text
        assert first.headers["x-ratelimit-limit-requests"] == "1"
        assert first.headers["x-ratelimit-remaining-requests"] == "0"
        second = await home.client.post(path, json=body, headers=bearer())
        assert code(second) == (429, "rate_limit_exceeded")
        assert second.json()["error"]["type"] == "requests"
        assert 0 < int(second.headers["retry-after"]) <= 61
        assert second.headers["x-ratelimit-remaining-requests"] == "0"
        assert "x-ratelimit-reset-requests" in second.headers
        assert len(fake.chats) == 1


async def embeds_or_says(wire):
    if wire.asked.path == "/v1/embeddings":
        await wire.head(200, "application/json")
        await wire.send(b'{"object": "list", "data": [], "usage": {"prompt_tokens": 1, "total_tokens": 1}}')
        return await wire.end()
    await says(chunk("Hello.", "stop"), chunk(choices=[], usage={"total_tokens": 50}), DONE)(wire)


async def test_tokens_are_those_that_were_used():
    async with upstream(embeds_or_says, VLLM) as fake:
        keys = [entry(tokens=80), entry(OTHER, "phone", tokens=80)]
        async with house(backend_url=fake.url, keys=keys) as home:
            for remaining in ("80", "30"):
                response = await home.ask("Hello", headers=bearer())
                assert response.status_code == 200
                assert response.headers["x-ratelimit-remaining-tokens"] == remaining
            limited = await home.ask("Hello", headers=bearer())
            assert code(limited) == (429, "rate_limit_exceeded")
            assert limited.json()["error"]["type"] == "tokens"
            assert (await home.ask("Hello", headers=bearer(OTHER))).status_code == 200


async def test_slots_are_as_many_as_the_key_has():
    model = Model(SAFE, delay=0.05)
    async with house(model, keys=[entry(concurrency=2)]) as home:
        answers = await asyncio.gather(*(home.ask("Hello", headers=bearer()) for _ in range(5)))
        assert sorted(one.status_code for one in answers) == [200, 200, 429, 429, 429]
        assert (await home.ask("Hello", headers=bearer())).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_a_slot_is_free_again_after_a_disconnect(stream):
    async def hangs(wire):
        await wire.head()
        await wire.events(chunk("Hello there. "), chunk("And"))
        await wire.until_client_leaves()

    async with (
        upstream(hangs, VLLM) as fake,
        house(backend_url=fake.url, keys=[entry(concurrency=1)]) as home,
    ):
        running = asyncio.create_task(home.ask("Hello", headers=bearer(), stream=stream))
        while not fake.chats:
            await asyncio.sleep(0.01)
        assert (await home.ask("Hello", headers=bearer())).status_code == 429
        running.cancel()
        fake.answer = embeds_or_says
        for _ in range(200):
            if (response := await home.ask("Hello", headers=bearer())).status_code == 200:
                break
            await asyncio.sleep(0.01)
        assert response.status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", asking(["Hello"], {})),
        ("/v1/chat/completions", asking(["Hello"], {"stream": True})),
        ("/v1/responses", {"input": "Hello"}),
        ("/v1/embeddings", {"input": "Hello"}),
    ],
)
@pytest.mark.parametrize("fault", ["refused", "broke off", "no answer"])
async def test_a_slot_is_free_again_after_a_fault(path, body, fault):
    async def breaks(wire):
        if fault == "refused":
            await wire.head(500, "application/json")
            await wire.send(b'{"error": {"message": "engine dead"}}')
            return await wire.end()
        if fault == "broke off":
            await wire.head()
            await wire.events(chunk("Hel"))
        wire.drop()

    async with (
        upstream(breaks, VLLM) as fake,
        house(backend_url=fake.url, keys=[entry(concurrency=1)]) as home,
    ):
        for _ in range(2):
            response = await home.client.post(path, json={"model": "m", **body}, headers=bearer())
            assert response.status_code != 429
            assert "Rate limit" not in response.text


async def test_a_child_in_danger_is_answered_over_the_limit():
    """Law 10: crisis outranks every limit."""
    model = Model(SAFE)
    async with house(model, keys=[entry(requests=1)]) as home:
        await home.ask("Hello", headers=bearer())
        assert (await home.ask("Hello", headers=bearer())).status_code == 429
        for stream in (False, True):
            response = await home.ask(DANGER, headers=bearer(), stream=stream)
            assert response.status_code == 200
            assert "999" in response.text
            (found,) = await home.audit(response.headers["x-kindrail-turn"])
            assert found.closed["outcome"] == "ended"
        for path, body in (("/v1/responses", {"input": DANGER}), ("/v1/completions", {"prompt": DANGER})):
            response = await home.client.post(path, json={"model": "buddy", **body}, headers=bearer())
            assert (response.status_code, "999" in response.text) == (200, True)
        assert (await home.ask("Hello", headers=bearer())).status_code == 429
    assert len(model.asked) == 1


async def test_a_bullied_child_is_answered_over_the_limit_too():
    """Though nobody is told: what the house says of danger needs no place."""
    async with house(Model(SAFE), keys=[entry(requests=1)]) as home:
        await home.ask("Hello", headers=bearer())
        response = await home.ask("they call me names", headers=bearer())
        assert response.status_code == 200
        (found,) = await home.audit(response.headers["x-kindrail-turn"])
        assert found.closed["outcome"] == "ended"
        assert await home.services.alerts.standing() == []


async def test_of_a_child_in_danger_a_person_is_told_over_the_limit_though_the_policy_only_watches():
    async with house(Model(SAFE), "observe", keys=[entry(requests=1)]) as home:
        await home.ask("Hello", headers=bearer())
        assert (await home.ask(DANGER, headers=bearer())).status_code == 429
        assert len(await home.services.alerts.standing()) == 1


async def test_a_limited_request_leaves_no_trace():
    async with house(Model(SAFE), keys=[entry(concurrency=1)]) as home:
        said = (await home.ask("Hello", headers=bearer())).json()["choices"][0]["message"]["content"]
        talk = ["Hello", assistant(said), "And then?"]
        before = await home.services.store.redis.dbsize(), len(await home.audit())
        await home.services.store.redis.zadd("kindrail:running:1:{default:tablet}", {"another": 1e12})
        assert (await home.ask(*talk, headers=bearer())).status_code == 429
        await home.services.store.redis.delete("kindrail:running:1:{default:tablet}")
        assert (await home.services.store.redis.dbsize(), len(await home.audit())) == before
        response = await home.ask(*talk, headers=bearer())
        assert (await home.audit(response.headers["x-kindrail-turn"]))[0].opened["found"] == "transcript"


async def test_a_body_is_as_large_as_the_key_lets_it_be():
    keys = [entry(body=1024), entry(OTHER, "phone")]
    async with house(Model(SAFE), keys=keys) as home:
        long = "Hello. " * 200
        assert code(await home.ask(long, headers=bearer())) == (413, "body_too_large")
        assert (await home.ask(long, headers=bearer(OTHER))).status_code == 200
