"""Every form of an answer that a real vLLM has, through the whole house: tools, JSON, several answers, other routes."""

import json

import openai
import pytest
from house import asking, house
from real.kit import STREAMS, filled, roomy, saying

from proxy.config import KeyEntry
from proxy.keyring import hashed, new_key
from proxy.wire.collect import Collector

pytestmark = pytest.mark.real

MAIL = {
    "type": "function",
    "function": {
        "name": "send_mail",
        "parameters": {
            "type": "object",
            "properties": {"to": {"type": "string"}, "text": {"type": "string"}},
            "required": ["to", "text"],
        },
    },
}
CALL = '<tool_call>\n{{"name": "send_mail", "arguments": {{"to": "{}", "text": "Ring {}."}}}}\n</tool_call>'
RAW = CALL.format("anna.rossi@example.com", "212-555-0147")
JUDGED = {"to": "<EMAIL_ADDRESS>", "text": "Ring <PHONE_NUMBER>."}
MAIL_ME = "My number is 212-555-0147. The bear naps."
WRITE_ME = "Write to anna.rossi@example.com. The fox sings."


async def answers(home, *messages, **body):
    """The same request whole and streamed several times: the bodies, those of streams collected."""
    found = [(await home.ask(*messages, **body)).json()]
    for _ in range(STREAMS):
        collector = Collector()
        for event in (await home.stream(*messages, **body, stream_options={"include_usage": True}))[:-1]:
            collector.add(event)
        found.append(collector.body())
    return found


# -- tools and JSON ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "content"), [("", None), ("I write to her. ", "I write to her. ")])
async def test_the_arguments_of_a_call_are_judged(vllm, before, content):
    """vLLM's own parser makes the call of the text, and streams its arguments a few letters at a time."""
    async with house(policy=roomy("general"), backend_url=vllm.url) as home:
        for body in await answers(home, "Write to Anna", tools=[MAIL], **saying(before + RAW)):
            (choice,) = body["choices"]
            (call,) = choice["message"]["tool_calls"]
            assert (choice["message"]["content"] or "").strip() == (content or "").strip()
            assert choice["finish_reason"] == "tool_calls"
            assert (call["type"], call["function"]["name"]) == ("function", "send_mail")
            assert call["id"].startswith("chatcmpl-tool-")
            assert json.loads(call["function"]["arguments"]) == JUDGED


async def test_a_call_written_into_the_text_passes_whole_and_judged(vllm):
    """As models do whose server has no parser for it: the app parses it."""
    async with house(policy=roomy("general"), backend_url=vllm.url) as home:
        for body in await answers(home, "Write to Anna", **saying(f"I write. {RAW}")):
            text = body["choices"][0]["message"]["content"]
            assert text == "I write. " + CALL.format("<EMAIL_ADDRESS>", "<PHONE_NUMBER>")


async def test_a_child_gets_no_call(vllm):
    async with house(policy=roomy(), backend_url=vllm.url) as home:
        refused = await home.ask("Write to Anna", tools=[MAIL], **saying(RAW))
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "tool_not_allowed")
        for body in await answers(home, "Write to Anna", **saying(RAW)):
            message = body["choices"][0]["message"]
            assert not message.get("tool_calls")
            assert message["content"]
            assert "send_mail" not in message["content"]


async def test_a_tools_result_reaches_the_model_judged(vllm):
    call = {"id": "call_1", "type": "function", "function": {"name": "send_mail", "arguments": "{}"}}
    talk = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Sent to anna.rossi@example.com"},
    ]
    async with house(policy=roomy("general"), backend_url=vllm.url) as home:
        for body in await answers(home, "Write to Anna", *talk, tools=[MAIL], **saying("It is sent.")):
            assert body["choices"][0]["message"]["content"] == "It is sent."
            assert body["choices"][0]["finish_reason"] == "stop"


async def test_a_json_document_stays_one(vllm):
    fields = {"mail": {"const": "anna.rossi@example.com"}, "city": {"const": "Rome"}}
    schema = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "contact", "schema": schema, "strict": True}}
    async with house(policy=roomy("general"), backend_url=vllm.url) as home:
        for body in await answers(home, "Who is it?", response_format=wanted, temperature=0):
            (choice,) = body["choices"]
            assert json.loads(choice["message"]["content"]) == {"mail": "<EMAIL_ADDRESS>", "city": "Rome"}
            assert choice["finish_reason"] == "stop"


# -- several answers, logprobs, reasoning ------------------------------------------------------------------------------


async def test_each_of_two_answers_is_judged(vllm):
    policy = roomy("general")
    judged = {filled(says, policy, "en") for says in (
        "My number is {PHONE_NUMBER}. The bear naps.", "Write to {EMAIL_ADDRESS}. The fox sings.")}  # fmt: skip
    async with house(policy=policy, backend_url=vllm.url) as home:
        for body in await answers(home, "Hello", n=2, temperature=1, **saying(MAIL_ME, WRITE_ME)):
            assert [choice["index"] for choice in body["choices"]] == [0, 1]
            assert {choice["message"]["content"] for choice in body["choices"]} <= judged
            assert [choice["finish_reason"] for choice in body["choices"]] == ["stop", "stop"]


async def test_a_key_opens_the_tokens_that_were_not_chosen(vllm):
    key = new_key()
    entry = KeyEntry(id="lab", hash=hashed(key), allow=["top_logprobs"])
    asked = asking(["Hello"], {"logprobs": True, "top_logprobs": 2, **saying(MAIL_ME)})
    async with house(policy=roomy("general"), backend_url=vllm.url, keys=[entry]) as home:
        response = await home.client.post(
            "/v1/chat/completions", json=asked, headers={"authorization": f"Bearer {key}"}
        )
        (choice,) = response.json()["choices"]
        tokens = choice["logprobs"]["content"]
        assert all(len(token["top_logprobs"]) == 2 for token in tokens)
        spelled = "".join(token["token"] for token in tokens)
        assert "The bear nap" in spelled
        assert "555" not in spelled
        assert choice["message"]["content"] == filled(
            "My number is {PHONE_NUMBER}. The bear naps.", roomy("general"), "en"
        )


async def test_no_reasoning_is_told_where_there_is_none(vllm):
    async with house(policy=roomy("general"), backend_url=vllm.url) as home:
        for body in await answers(home, "Hello", **saying("The bear naps.")):
            message = body["choices"][0]["message"]
            assert not {"reasoning", "reasoning_content"} & message.keys()


# -- other routes, by the official client ------------------------------------------------------------------------------


def client_of(home):
    return openai.AsyncOpenAI(base_url=f"{home.url}/v1", api_key="none", max_retries=0)


async def test_completions_are_judged(vllm):
    prompt = "User: Ring me at 212-555-0147, please\nAssistant:"
    asked = {"model": "buddy", "prompt": prompt, "max_tokens": 300, "extra_body": saying(WRITE_ME)}
    async with house(policy=roomy("general"), backend_url=vllm.url) as home, client_of(home) as client:
        whole = await client.completions.create(**asked)
        stream = await client.completions.create(**asked, stream=True)
        parts = [part async for part in stream]
        leaves = filled("Write to {EMAIL_ADDRESS}. The fox sings.", roomy("general"), "en")
        assert whole.choices[0].text == "".join(part.choices[0].text for part in parts) == leaves
        assert whole.choices[0].finish_reason == parts[-1].choices[0].finish_reason == "stop"
        assert (whole.object, parts[0].object) == ("text_completion", "text_completion")


async def test_responses_are_judged_and_go_on(vllm):
    async with house(policy=roomy("general"), backend_url=vllm.url) as home, client_of(home) as client:
        first = await client.responses.create(model="buddy", input="Hello", extra_body=saying(MAIL_ME))
        leaves = filled("My number is {PHONE_NUMBER}. The bear naps.", roomy("general"), "en")
        assert (first.output_text, first.status) == (leaves, "completed")
        asked = {"model": "buddy", "input": "And now?", "previous_response_id": first.id}
        stream = await client.responses.create(**asked, stream=True, extra_body=saying(WRITE_ME))
        events = [event async for event in stream]
        spoken = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        final = events[-1].response
        assert spoken == final.output_text == filled("Write to {EMAIL_ADDRESS}. The fox sings.", roomy("general"), "en")
        assert final.usage.input_tokens > first.usage.input_tokens  # what was said before went with it


async def test_a_response_calls_a_tool(vllm):
    tool = {"type": "function", **MAIL["function"]}
    asked = {"model": "buddy", "input": "Write to Anna", "tools": [tool], "extra_body": saying(RAW)}
    async with house(policy=roomy("general"), backend_url=vllm.url) as home, client_of(home) as client:
        whole = await client.responses.create(**asked)
        events = [event async for event in await client.responses.create(**asked, stream=True)]
        for response in (whole, events[-1].response):
            (call,) = response.output
            assert (call.type, call.name) == ("function_call", "send_mail")
            assert json.loads(call.arguments) == JUDGED


async def test_models_are_those_of_the_server(vllm):
    async with house(policy=roomy(), backend_url=vllm.url) as home, client_of(home) as client:
        assert [model.id async for model in client.models.list()] == ["buddy"]
        assert (await client.models.retrieve("buddy")).max_model_len == 4096
