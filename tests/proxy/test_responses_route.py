"""/v1/responses through the whole house: OpenAI's own client, conversations that go on, and what is kept of them."""

import json
from contextlib import asynccontextmanager
from dataclasses import replace

import openai
import pytest
from fake_upstream import DONE, VLLM, chunk, says, upstream
from house import events_of, house, shipped
from model import SAFE, Model, event
from servers import everything

from proxy.keys import Keys
from proxy.store import StoreDown

pytestmark = pytest.mark.usefixtures("lists_alone")  # how well the learned model judges is tried elsewhere

MAIL = "zoe.baker@example.com"
FUNCTION = {"type": "function", "name": "get_bear", "parameters": {"type": "object", "properties": {}}}


@asynccontextmanager
async def talking(backend, policy="kids-buddy", **settings):
    """A house, and OpenAI's client before it."""
    async with (
        house(backend, policy, **settings) as home,
        openai.AsyncOpenAI(base_url=f"{home.url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield home, client.responses


class Caller(Model):
    """A model that calls a function, and then says how it went."""

    async def stream(self, ask):
        if ask.body["messages"][-1]["role"] == "tool":
            async for delta in super().stream(ask):
                yield delta
            return
        self.asked.append(ask.body)
        call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "get_bear", "arguments": ""}}
        yield event({"tool_calls": [call]})
        for part in ('{"na', 'me": "Bru', 'no"}'):
            yield event({"tool_calls": [{"index": 0, "function": {"arguments": part}}]})
        yield event({}, "tool_calls")


async def collected(stream):
    return [one async for one in stream]


def roles(asked):
    """Whose messages the model was sent, but for the instructions."""
    return [message["role"] for message in asked["messages"] if message["role"] != "system"]


def texts(asked):
    return [message["content"] for message in asked["messages"] if message["role"] != "system"]


# -- one answer --------------------------------------------------------------------------------------------------------


async def test_an_answer_is_the_same_streamed_and_not():
    async with talking(Model(SAFE)) as (_, responses):
        whole = await responses.create(model="buddy", input="Tell me of the bear")
        assert (whole.output_text, whole.status, whole.error) == (SAFE, "completed", None)
        events = [one async for one in await responses.create(model="buddy", input="Tell me of the bear", stream=True)]
        assert "".join(one.delta for one in events if one.type == "response.output_text.delta") == SAFE
        assert [one.sequence_number for one in events] == list(range(len(events)))
        last = events[-1]
        assert (events[0].type, last.type) == ("response.created", "response.completed")
        assert {one.response.id for one in (events[0], last)} == {last.response.id}
        assert last.response.output_text == SAFE
        unlike = {"id", "created_at", "output"}
        told = [one.model_dump(exclude=unlike) for one in (whole, last.response)]
        assert told[0] == told[1]


async def test_a_stream_ends_without_done():
    async with house(Model(SAFE)) as home:
        response = await home.client.post("/v1/responses", json={"model": "m", "input": "Hello", "stream": True})
        assert "[DONE]" not in response.text
        assert response.headers["content-type"].startswith("text/event-stream")
        kinds = [line.removeprefix("event: ") for line in response.text.splitlines() if line.startswith("event: ")]
        assert kinds == [one["type"] async for one in events_of(response)]


async def test_the_model_is_asked_for_an_answer_that_nobody_stores():
    model = Model(SAFE)
    async with talking(model) as (_, responses):
        await responses.create(model="buddy", input="Hello", store=True, instructions="Be brief.", max_output_tokens=50)
    (asked,) = model.asked
    assert asked["store"] is False
    assert asked["max_completion_tokens"] == 50
    assert "Be brief." in asked["messages"][0]["content"]
    assert not {"input", "instructions", "previous_response_id", "max_output_tokens"} & set(asked)


async def test_a_datum_reaches_neither_model_nor_client():
    model = Model(f"Write to {MAIL} today. The bear slept.")
    async with talking(model, "general") as (_, responses):
        said = (await responses.create(model="buddy", input="My address is tom@mail.com.")).output_text
    assert "tom@mail.com" not in json.dumps(model.asked)
    assert MAIL not in said
    assert "The bear slept." in said


@pytest.mark.parametrize("stream", [False, True])
async def test_a_child_in_danger_is_answered_by_the_house(stream):
    model = Model(SAFE)
    async with talking(model) as (_, responses):
        answer = await responses.create(model="buddy", input="I want to kill myself", stream=stream)
        if stream:
            answer = [one async for one in answer][-1].response
        assert "999" in answer.output_text
        assert answer.status == "completed"
    assert not model.asked


async def test_a_block_under_a_policy_that_tells_so_is_incomplete():
    policy = replace(shipped("kids-buddy"), blocked_as="content_filter")
    async with talking(Model(SAFE), policy) as (_, responses):
        answer = await responses.create(model="buddy", input="good night")
        assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "content_filter")
        assert answer.output_text in policy.say["bye_sleep"]["en"]


async def test_a_backends_fault_is_an_error_or_a_failed_response():
    broken = says(chunk("Hello there. "), chunk("And"), '{"error":{"message":"engine dead","code":500}}')
    async with upstream(broken, VLLM) as fake, talking(None, backend_url=fake.url) as (_, responses):
        with pytest.raises(openai.InternalServerError, match="model server failed"):
            await responses.create(model="buddy", input="Hello")
        stream = aiter(await responses.create(model="buddy", input="Hello", stream=True))
        assert (await anext(stream)).type == "response.created"
        with pytest.raises(openai.APIError, match="model server failed"):
            await collected(stream)


async def test_usage_is_told_in_its_own_words():
    used = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10, "prompt_tokens_details": {"cached_tokens": 4}}  # fmt: skip
    async with (
        upstream(says(chunk("Hello.", "stop"), chunk(choices=[], usage=used), DONE), VLLM) as fake,
        talking(None, backend_url=fake.url) as (_, responses),
    ):
        usage = (await responses.create(model="buddy", input="Hello")).usage
        assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (7, 3, 10)
        assert usage.input_tokens_details.cached_tokens == 4


# -- conversations -----------------------------------------------------------------------------------------------------

ANSWERS = ["The bear woke up.", "It ate honey.", "Then it slept."]
ASKED = ["Tell me of the bear", "And then?", "And the end?"]


def by_previous(answers):
    return {"previous_response_id": answers[-1].id} if answers else {}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("way", ["previous", "reference", "input", "client's own items"])
async def test_three_turns(way, stream):
    model = Model(*ANSWERS)
    async with talking(model) as (home, responses):
        answers, talk = [], []
        for said in ASKED:
            talk.append({"role": "user", "content": said})
            more = {"input": talk if way != "previous" else said, **(by_previous(answers) if way == "previous" else {})}
            answer = await responses.create(model="buddy", stream=stream, **more)
            answers.append([one async for one in answer][-1].response if stream else answer)
            talk += {
                "reference": [{"type": "item_reference", "id": answers[-1].output[0].id}],
                "input": [{"role": "assistant", "content": answers[-1].output_text}],
            }.get(way, [one.model_dump() for one in answers[-1].output])
        assert [one.output_text for one in answers] == ANSWERS
        spoken = [text for pair in zip(ASKED, ANSWERS, strict=True) for text in pair]
        assert [texts(asked) for asked in model.asked] == [spoken[:1], spoken[:3], spoken[:5]]
        found = sorted(turn.opened["found"] for turn in await home.audit())
        by_name = way in ("previous", "reference")
        assert found == (["named", "named", "new"] if by_name else ["new", "transcript", "transcript"])


@pytest.mark.parametrize("named", [{}, {"metadata": {"session_id": "living-room"}}])
async def test_a_stop_of_the_first_turn_holds_in_the_second(named):
    """The answers are wild, and after a stop they may ask nothing."""
    model = Model("Do you like bears? Let us play!", "It rained. Shall we go on playing? What is your favourite game?")
    async with talking(model) as (home, responses):
        first = await responses.create(model="buddy", input="good night", **named)
        second = await responses.create(model="buddy", input="Is it raining?", previous_response_id=first.id)
        assert "?" not in second.output_text
        found = {turn.opened["found"] for turn in await home.audit()}
        assert found == {"new", "named"}
        other = await responses.create(model="buddy", input="Is it raining?")
        assert "?" in other.output_text  # the model does ask


async def test_instructions_hold_for_one_response_alone():
    model = Model(SAFE)
    async with talking(model, "general") as (_, responses):
        first = await responses.create(model="buddy", input="Hello", instructions="Be brief.")
        second = await responses.create(model="buddy", input="And?", previous_response_id=first.id)
        await responses.create(model="buddy", input="And?", previous_response_id=second.id, instructions="Be long.")
    assert roles(model.asked[1]) == ["user", "assistant", "user"]
    assert "Be brief." not in json.dumps(model.asked[1:])
    assert model.asked[2]["messages"][0] == {"role": "system", "content": "Be long."}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("way", ["previous", "input", "reference"])
async def test_a_function_call_goes_there_and_back(way, stream):
    policy = replace(shipped("general"), tools=("get_*",))
    model = Caller("", "Bruno sleeps.")
    async with talking(model, policy) as (_, responses):
        first = await responses.create(model="buddy", input="Where is Bruno?", tools=[FUNCTION], stream=stream)
        first = [one async for one in first][-1].response if stream else first
        (call,) = first.output
        assert (call.type, call.name, call.call_id) == ("function_call", "get_bear", "call_1")
        assert json.loads(call.arguments) == {"name": "Bruno"}
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "asleep"}
        begun = {
            "previous": [],
            "input": [{"role": "user", "content": "Where is Bruno?"}, call.model_dump(exclude_none=True)],
            "reference": [{"role": "user", "content": "Where is Bruno?"}, {"type": "item_reference", "id": call.id}],
        }[way]
        more = {"previous_response_id": first.id} if way == "previous" else {}
        second = await responses.create(model="buddy", input=[*begun, result], tools=[FUNCTION], **more)
        assert second.output_text == "Bruno sleeps."
    assert roles(model.asked[1]) == ["user", "assistant", "tool"]
    called, told = model.asked[1]["messages"][-2:]
    assert called["tool_calls"][0]["function"]["name"] == "get_bear"
    assert json.loads(called["tool_calls"][0]["function"]["arguments"]) == {"name": "Bruno"}
    assert (told["tool_call_id"], told["content"]) == ("call_1", "asleep")


async def test_a_function_that_the_policy_does_not_allow():
    async with talking(Model(SAFE)) as (_, responses):
        with pytest.raises(openai.BadRequestError) as refused:
            await responses.create(model="buddy", input="Hello", tools=[FUNCTION])
        assert refused.value.code == "tool_not_allowed"


# -- what is kept ------------------------------------------------------------------------------------------------------


async def stored(home):
    """Every value in the store of those that a response leaves there, opened."""
    redis, keys = home.services.store.redis, home.services.kept._keys
    assert isinstance(keys, Keys)
    names = [name async for name in redis.scan_iter("kindrail:*")]
    kept = [name for name in names if name.startswith((b"kindrail:response:", b"kindrail:item:"))]
    values = [await redis.get(name) for name in kept]
    tags = [name.decode().partition("{")[2].rstrip("}") for name in kept]
    opened = [keys.open(tag, value) for tag, value in zip(tags, values, strict=True)]
    return kept, values, opened


@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_kept_is_masked_and_sealed_and_has_an_end(stream):
    model = Model(f"Write to {MAIL} today.")
    async with talking(model, "observe") as (home, responses):
        answer = await responses.create(model="buddy", input=f"My address is {MAIL}", stream=stream)
        if stream:
            answer = [one async for one in answer][-1].response
        assert MAIL in answer.output_text  # the policy only observes
        names, values, opened = await stored(home)
        assert len(names) == 2
        assert all(MAIL not in text for text in opened)
        assert any("My address is" in text for text in opened)
        assert not any(b"My address" in value for value in values)
        redis = home.services.store.redis
        for name in names:
            assert 0 < await redis.ttl(name) <= shipped("observe").keep.sessions
        raw = str(await everything(home.services.store))
        assert str(names[0]) in raw
        for word in (MAIL, "zoe.baker", "My address is", answer.id, answer.output[0].id):
            assert word not in raw


async def test_what_is_not_to_be_stored_is_not():
    async with talking(Model(SAFE)) as (home, responses):
        answer = await responses.create(model="buddy", input="Hello", store=False)
        assert (await stored(home))[0] == []
        assert answer.store is False
        with pytest.raises(openai.NotFoundError) as gone:
            await responses.create(model="buddy", input="And?", previous_response_id=answer.id)
        assert gone.value.code == "previous_response_not_found"


async def test_a_response_is_deleted_once():
    async with talking(Model(SAFE)) as (home, responses):
        answer = await responses.create(model="buddy", input="Hello")
        await responses.delete(answer.id)
        assert (await stored(home))[0] == []
        with pytest.raises(openai.NotFoundError):
            await responses.delete(answer.id)
        response = await home.client.get(f"/v1/responses/{answer.id}")
        assert response.status_code == 405


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"previous_response_id": "resp_none"}, 404, "previous_response_not_found"),
        ({"input": [{"type": "item_reference", "id": "msg_none"}]}, 404, "item_not_found"),
        ({"background": True}, 400, "unsupported_parameter"),
        ({"conversation": "conv_1"}, 400, "unsupported_parameter"),
        ({"input": None}, 400, "missing_required_parameter"),
        ({"input": [{"type": "computer_call"}]}, 400, "unsupported_value"),
        ({"tools": [{"type": "web_search"}]}, 400, "unsupported_value"),
        ({"metadata": {"session_id": "x" * 201}}, 400, "invalid_session"),
        ({"input": []}, 400, None),
    ],
)
async def test_what_is_refused(body, status, code):
    model = Model(SAFE)
    async with house(model) as home:
        response = await home.client.post("/v1/responses", json={"model": "buddy", "input": "Hello", **body})
        assert (response.status_code, response.json()["error"]["code"]) == (status, code)
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert not model.asked


async def test_a_fault_keeps_nothing():
    broken = says(chunk("Hello there. "), '{"error":{"message":"engine dead","code":500}}')
    async with upstream(broken, VLLM) as fake, house(backend_url=fake.url) as home:
        for stream in (False, True):
            await home.client.post("/v1/responses", json={"model": "m", "input": "Hello", "stream": stream})
        assert (await stored(home))[0] == []


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("back_soon", [False, True])
async def test_without_a_store_only_a_child_in_danger_is_answered(monkeypatch, stream, back_soon):
    """Law 10; and an answer that knew nothing of the conversation before would forget a stop."""
    model = Model(SAFE)
    async with house(model) as home:
        kept = (await home.client.post("/v1/responses", json={"model": "m", "input": "Hello"})).json()
        store, real = home.services.store, home.services.store.run
        calls = []

        async def gone(commands):
            calls.append(len(commands))
            if back_soon and len(calls) > 1:
                return await real(commands)
            if len(commands):
                raise StoreDown(ConnectionError())
            return []

        monkeypatch.setattr(type(store), "run", staticmethod(gone))
        reference = {"type": "item_reference", "id": kept["output"][0]["id"]}
        for said, status in (("I want to kill myself", 200), ("And then?", 503)):
            ways = [
                {"input": said, "previous_response_id": kept["id"]},
                {"input": [reference, {"role": "user", "content": said}]},
            ]
            for way in ways:
                calls.clear()
                response = await home.client.post("/v1/responses", json={"model": "m", "stream": stream, **way})
                assert response.status_code == status
                assert ("999" in response.text) is (status == 200)
    assert len(model.asked) == 1


async def test_an_answer_of_the_house_can_be_gone_on_from():
    model = Model(SAFE)
    async with talking(model) as (_, responses):
        first = await responses.create(model="buddy", input="good night")
        await responses.create(model="buddy", input="Let us play again", previous_response_id=first.id)
    assert texts(model.asked[0])[:2] == ["good night", first.output_text]


async def test_a_child_in_danger_is_answered_though_the_previous_response_is_not_kept_any_more():
    async with talking(Model(SAFE)) as (home, responses):
        answer = await responses.create(model="m", input="I want to kill myself", previous_response_id="resp_gone")
        assert answer.output_text
        assert home.services.backend.asked == []
        with pytest.raises(openai.NotFoundError):
            await responses.create(model="m", input="And then?", previous_response_id="resp_gone")


async def test_what_the_model_reads_stays_the_same_from_turn_to_turn():
    """Kept texts have the words that stood in for a datum, so that the prompt only grows at its end."""
    model = Model(SAFE)
    async with talking(model) as (_, responses):
        first = await responses.create(model="m", input="My name is Zoe Baker. Tell me of bears")
        await responses.create(model="m", input="And then?", previous_response_id=first.id)
    one, two = (body["messages"] for body in model.asked)
    assert "Zoe" not in json.dumps(one)
    assert two[: len(one)] == one
