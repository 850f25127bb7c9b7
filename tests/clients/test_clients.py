"""The clients that apps are written with, before a whole Kindrail: what each of them makes of its answers and errors.

A client runs as its users run it, in its own environment and process. It tells what it saw (`told.py`, `told.mjs`), and
here stands what that must be. Behind the house for adults, and behind the one for children, is the scripted buddy.
"""

import asyncio
import json
from functools import cache

import pytest
from clients.houses import KEY, adults, children
from clients.kit import HERE, node_folder, python_with, run

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600), pytest.mark.usefixtures("environments")]

SCRIPTS = {  # client -> the environment it runs in and its script
    "openai": ("openai", "client_openai.py"),
    "openai responses": ("openai", "client_openai.py"),
    "openai completions": ("openai", "client_openai.py"),
    "openai models": ("openai", "client_openai.py"),
    "openai-node": ("node", "client_openai.mjs"),
    "openai-node responses": ("node", "client_openai.mjs"),
    "openai-node models": ("node", "client_openai.mjs"),
    "langchain": ("openai", "client_langchain.py"),
    "instructor": ("instructor", "client_instructor.py"),
    "litellm openai": ("litellm", "client_litellm.py"),
    "litellm hosted_vllm": ("litellm", "client_litellm.py"),
    "ai-sdk responses": ("node", "client_ai_sdk.mjs"),
    "ai-sdk chat": ("node", "client_ai_sdk.mjs"),
    "ai-sdk compatible": ("node", "client_ai_sdk.mjs"),
}
TALKERS = [name for name in SCRIPTS if "models" not in name and name != "instructor"]
WITH_TOOLS = [name for name in TALKERS if name not in ("openai completions", "openai-node responses")]
STRUCTURED = [
    *[(name, "structured") for name in [*WITH_TOOLS, "instructor"]],
    *[(name, "structured_stream") for name in ("openai", "ai-sdk responses", "ai-sdk chat", "ai-sdk compatible")],
    *[("instructor", scenario) for scenario in ("structured_tools", "structured_stream")],
]
TALKS = [
    *[(name, "talk") for name in WITH_TOOLS],
    ("ai-sdk responses", "talk_by_reference"),
    ("ai-sdk responses", "talk_streamed"),
]
RAISED = {  # how a client calls what it raises: for a model that is not there, a bad request, a wrong key
    **dict.fromkeys(SCRIPTS, ("NotFoundError", "BadRequestError", "AuthenticationError")),
    **dict.fromkeys([name for name in SCRIPTS if name.startswith("ai-sdk")], ("AI_APICallError",) * 3),
    "langchain": ("OpenAIModelNotFoundError", "OpenAIInvalidRequestError", "OpenAIAuthenticationError"),
    "instructor": ("InstructorRetryException",) * 3,
}
FAULTS = {"unknown_model": (0, 404), "too_long": (1, 400), "bad_key": (2, 401)}


@cache
def told(environment, script):
    """All that the script tells of its clients: client -> scenario -> facts."""
    return asyncio.run(_told(environment, script))


async def _told(environment, script):
    command = ["node", node_folder() / script] if environment == "node" else [python_with(environment), HERE / script]
    async with adults() as house, children() as home:
        urls = {"BASE_URL": f"{house.url}/v1", "CHILD_URL": f"{home.url}/v1"}
        status, out = await run(command, **urls, API_KEY=KEY)
    lines = [json.loads(line) for line in out.splitlines() if line.startswith('{"client"')]
    assert status == 0, out
    assert lines, out
    facts = {line["client"]: {} for line in lines}
    for line in lines:
        facts[line["client"]][line["scenario"]] = line
    return facts


def facts_of(client, scenario):
    """What the client saw. Fails with what it raised instead."""
    facts = told(*SCRIPTS[client])[client][scenario]
    assert "raised" not in facts, facts
    return facts


@pytest.mark.parametrize("client", TALKERS)
def test_a_stream_is_the_whole_answer(client):
    whole, stream = facts_of(client, "whole"), facts_of(client, "stream")
    assert whole["text"]
    assert whole["finish"] in ("stop", "completed")
    assert whole["tokens"] > 0
    assert {**stream, "scenario": "whole"} == whole


@pytest.mark.parametrize("client", WITH_TOOLS)
def test_a_tool_is_called_and_its_result_answered(client):
    facts = facts_of(client, "tools")
    assert (facts["name"], facts["arguments"]) == ("get_weather", {"city": "Rome"})
    assert facts["finish"] in ("tool_calls", "tool-calls", "completed")
    assert facts["answer"]


@pytest.mark.parametrize("client", WITH_TOOLS)
def test_a_streamed_tool_call_is_the_same(client):
    whole, streamed = facts_of(client, "tools"), facts_of(client, "tools_stream")
    assert [streamed[name] for name in ("name", "arguments", "finish")] == [
        whole[name] for name in ("name", "arguments", "finish")
    ]


@pytest.mark.parametrize(("client", "scenario"), STRUCTURED)
def test_the_answer_is_an_object_of_the_schema(client, scenario):
    value = facts_of(client, scenario)["value"]
    assert sorted(value) == ["city", "sky"]
    assert value["city"] == "Rome"


@pytest.mark.parametrize("scenario", FAULTS)
@pytest.mark.parametrize("client", [name for name in SCRIPTS if "models" not in name])
def test_a_fault_is_the_clients_own_exception(client, scenario):
    facts = told(*SCRIPTS[client])[client][scenario]
    which, status = FAULTS[scenario]
    assert (facts.get("raised"), facts.get("status")) == (RAISED[client][which], status), facts


@pytest.mark.parametrize("client", ["openai models", "openai-node models"])
def test_the_models_are_listed_and_known_by_name(client):
    assert facts_of(client, "list")["ids"] == ["buddy"]
    assert facts_of(client, "one")["id"] == "buddy"
    assert told(*SCRIPTS[client])[client]["unknown_model"]["raised"] == "NotFoundError"


@pytest.mark.parametrize(("client", "scenario"), TALKS)
def test_a_child_is_heard_turn_by_turn(client, scenario):
    """The buddy would light the candle, and after the good night it would ask for more, twice."""
    candle, night, after = facts_of(client, scenario)["texts"]
    assert "make believe" in candle
    assert not any(word in candle.lower() for word in ("match", "lighter"))
    assert night
    assert after
    assert "?" not in night + after


def test_the_vercel_sdk_refers_to_what_the_house_keeps():
    """By default it sends the ids of earlier items in the place of the items."""
    assert facts_of("ai-sdk responses", "talk_streamed")["references"] == [0, 1, 2]
