"""Usage is what a real vLLM has worked, told as it would tell it: in full, and when the generation was cancelled."""

import pytest
from house import events_of, house
from real.kit import LONG, counted, roomy, saying, tries, until

pytestmark = pytest.mark.real

SHORT = "The bear walks to the pond. It is blue."
WAYS = [(route, n, stream) for route in ("chat/completions", "completions") for n in (1, 2) for stream in (True, False)]
WHOLE = {"chat/completions": lambda choice: choice["message"]["content"], "completions": lambda choice: choice["text"]}
PART = {"chat/completions": lambda choice: choice["delta"].get("content") or "", "completions": WHOLE["completions"]}


def two_allowed():
    """The rails of kids-buddy for those who may ask for two answers at once."""
    return roomy(audience="adult")


async def asked(home, route, n, stream, says):
    """The texts of the answers by choice, and the usage."""
    words = {"prompt": "Hello"} if route == "completions" else {"messages": [{"role": "user", "content": "Hello"}]}
    body = {"model": "buddy", "n": n, "max_tokens": 3000, **words, **saying(says)}
    if not stream:
        whole = (await home.client.post(f"/v1/{route}", json=body)).json()
        return [WHOLE[route](choice) for choice in whole["choices"]], whole["usage"]
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    async with home.client.stream("POST", f"/v1/{route}", json=body) as response:
        *events, last, done = [event async for event in events_of(response)]
    assert (last["choices"], done) == ([], "[DONE]")
    assert not any(event.get("usage") for event in events)
    texts = [""] * n
    for (choice,) in (event["choices"] for event in events):
        texts[choice["index"]] += PART[route](choice)
    return texts, last["usage"]


async def counted_for(vllm, before):
    """What the server has counted since, once it has nothing to do any more."""
    await until(lambda: vllm.metric("vllm:num_requests_running") == 0, 2)
    return [after - earlier for after, earlier in zip(counted(vllm), before, strict=True)]


@pytest.mark.parametrize(("route", "n", "stream"), WAYS)
async def test_usage_is_what_the_server_counted(vllm, route, n, stream):
    async with house(policy=two_allowed(), backend_url=vllm.url) as home:
        before = counted(vllm)
        texts, usage = await asked(home, route, n, stream, SHORT)
        read, made = await counted_for(vllm, before)
        assert texts == [SHORT] * n
        assert usage["prompt_tokens"] == read / n  # vLLM reads the prompt for each answer, and tells it once
        assert usage["completion_tokens"] == made
        assert usage["total_tokens"] == usage["prompt_tokens"] + made


@pytest.mark.parametrize(("route", "n", "stream"), WAYS)
async def test_a_clamp_frees_the_server_and_tells_what_was_used(vllm, route, n, stream):
    async with house(policy=two_allowed(), backend_url=vllm.url) as home:
        for _ in tries():
            before = counted(vllm)
            texts, usage = await asked(home, route, n, stream, LONG)
            read, made = await counted_for(vllm, before)
            for text in texts:
                assert LONG.startswith(text)
                assert text.endswith("stone number 4 beside the little pond and sings.")
            assert usage["prompt_tokens"] == read / n
            # It goes on for as long as it takes to tell it to stop, and what it says meanwhile nobody reads.
            assert sum(map(vllm.tokens, texts)) <= usage["completion_tokens"] <= made
            assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
            assert "estimated" not in usage
            if made < n * vllm.tokens(LONG):
                break


async def test_no_usage_is_told_on_a_stream_that_did_not_ask(vllm):
    async with house(policy=roomy(), backend_url=vllm.url) as home:
        events = await home.stream("Hello", **saying(SHORT))
        assert not any(event.get("usage") for event in events[:-1])
        (turn,) = await home.audit()
        assert turn.closed["usage"]["completion_tokens"] > 0  # the house knows it all the same


@pytest.mark.parametrize("stream", [True, False])
async def test_what_the_house_says_itself_costs_nothing(vllm, stream):
    async with house(policy=roomy(), backend_url=vllm.url) as home:
        before = counted(vllm)
        if stream:
            usage = (await home.stream("stop!", stream_options={"include_usage": True}))[-2]["usage"]
        else:
            usage = (await home.ask("stop!")).json()["usage"]
        assert await counted_for(vllm, before) == [0, 0]
        assert usage == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
