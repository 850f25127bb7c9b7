"""The README's table of what the house does with each field: every cell is tried on a whole house."""

import json
import re
from pathlib import Path

import pytest
from fake_upstream import DONE, VLLM, chunk, says, upstream
from house import house

from proxy.config import KeyEntry
from proxy.keyring import hashed
from proxy.policy.load import load_policy

README = Path(__file__).parents[2] / "README.md"
ROUTES = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
PLAIN = "a plain key, of which the table says what it may"
OPEN = "a key that may what a key can be allowed"
CHILD = "the same for the policy of a child"

# A value for each field that the table names; a field beside it where one needs the other.
FUNCTION = {"name": "get_animal", "parameters": {"type": "object", "properties": {}}}
VALUES = {
    "messages": [{"role": "user", "content": "Hi"}],
    "prompt": "Hi",
    "input": "Hi",
    "temperature": 1.5,
    "top_p": 0.99,
    "max_tokens": 5000,
    "max_completion_tokens": 5000,
    "max_output_tokens": 5000,
    "stop": ["x"],
    "seed": 7,
    "frequency_penalty": 0.5,
    "presence_penalty": 0.5,
    "logit_bias": {"7": 1},
    "user": "u",
    "safety_identifier": "s",
    "metadata": {"a": "b"},
    "service_tier": "auto",
    "reasoning_effort": "low",
    "parallel_tool_calls": True,
    "repetition_penalty": 1.1,
    "top_k": 20,
    "min_p": 0.1,
    "stop_token_ids": [7],
    "priority": 1,
    "unknown_field": {"of": ["any", "kind"]},
    "store": True,
    "n": 2,
    "best_of": 2,
    "tools": [{"type": "function", "function": FUNCTION}],
    "response_format": {"type": "json_object"},
    "text": {"format": {"type": "json_object"}},
    "structured_outputs": {"json": {}},
    "logprobs": True,
    "top_logprobs": 2,
    "instructions": "Be kind.",
    "previous_response_id": "resp_unknown",
    "background": True,
    "conversation": "c",
    "prompt_logprobs": 1,
    "echo": True,
    "suffix": "x",
    "return_token_ids": True,
    "prompt_token_ids": [1],
    "prompt_embeds": "x",
    "chat_template": "x",
    "chat_template_kwargs": {"a": 1},
    "documents": [{"text": "x"}],
    "prediction": {"type": "content", "content": "x"},
    "audio": {"voice": "x"},
    "web_search_options": {"a": 1},
    "functions": [FUNCTION],
    "logits_processors": ["x"],
    "image": {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
    "input_audio": {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
    "file": {"type": "file", "file": {"file_data": "data:text/plain;base64,AA=="}},
}
PARTS = ("image", "input_audio", "file")
WORDS = {"passes", "judged", "bounded", "policy", "key", "refused", "kept", "false", "—"}
POLICY = """
policy: table
version: 1
about: a policy that allows what a policy can allow
audience: adult
languages: [en]
tools: ["get_*"]
parts: {image: keys, audio: keys, file: keys}
model: {max_tokens: 100, temperature: {max: 0.9}, top_p: {max: 0.8}, repetition_penalty: 1.05}
say: {sorry: {en: Sorry.}, fallback: {en: Something else.}}
rails:
  - {id: length, rail: clamp, why: answers are short}
"""


def rows():
    """field -> cells of the table in the README."""
    text = README.read_text("utf-8").split("## What passes", 1)[1].split("\n## ", 1)[0]
    for line in text.splitlines():
        if match := re.fullmatch(r"\| (`.*) \|", line):
            fields, *cells = [cell.strip() for cell in match[1].split("|")]
            for field in re.findall(r"`(\w+)`", fields):
                yield field, dict(zip(ROUTES, cells, strict=True))


CELLS = [(field, route, word) for field, cells in rows() for route, word in cells.items()]


def body(route, field):
    value = VALUES[field]
    base = {"model": "m"}
    if field in PARTS:
        return {**base, "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}, value]}]}
    base |= {ROUTES[0]: {"messages": VALUES["messages"]}, ROUTES[1]: {"prompt": "Hi"}, ROUTES[2]: {"input": "Hi"}}[
        route
    ]
    if field == "tools" and route == ROUTES[2]:
        value = [{"type": "function", **FUNCTION}]
    if field == "logprobs" and route == ROUTES[1]:
        value = 0
    return {**base, **({"n": 2} if field == "best_of" else {}), field: value}


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "table.yaml"
    path.write_text(POLICY, encoding="utf-8")
    return load_policy(path)


def key(name, value, **more):
    return KeyEntry(id=name, hash=hashed(value), **more)


def test_the_table_is_there_and_whole():
    assert {field for field, _, _ in CELLS} == set(VALUES), "every field of this test stands in the table, and no other"
    assert {word for _, _, word in CELLS} <= WORDS


async def test_every_cell_of_the_table(policy):
    keys = [
        key("plain", PLAIN),
        key("open", OPEN, allow=[*VALUES, "image", "audio", "file"]),
        key("child", CHILD, policy="kids-buddy", allow=[*VALUES, "image", "audio", "file"]),
    ]
    answer = says(chunk(""), chunk('{"a": 1}'), chunk("", "stop"), DONE)
    wrong = []
    async with (
        upstream(answer, VLLM) as fake,
        house(backend_url=fake.url, policy=policy, more=["kids-buddy"], keys=keys) as home,
    ):
        for field, route, word in CELLS:
            tried = [await _try(home, fake, route, field, who) for who in (PLAIN, OPEN, CHILD)]
            if not FITS[word](field, *tried):
                wrong.append((field, route, word, tried))
    assert wrong == []


async def _try(home, fake, route, field, who):
    """What reached the backend of the field, or the status that the client got."""
    if field in PARTS and route != ROUTES[0]:
        return 400
    before = len(fake.chats)
    response = await home.client.post(route, json=body(route, field), headers={"authorization": f"Bearer {who}"})
    if response.status_code != 200:
        assert response.json()["error"]["param"], (field, route, response.text)
        return response.status_code
    assert len(fake.chats) == before + 1
    return fake.chats[-1].body


def _arrived(field, tried):
    if not isinstance(tried, dict):
        return False
    return json.dumps(VALUES[field]) in json.dumps(tried) if field in PARTS else field in tried


FITS = {
    # as it came, whoever asks
    "passes": lambda field, *tried: all(
        isinstance(one, dict) and one.get(field) in (VALUES[field], 0) for one in tried
    ),
    # reaches the model in the form that its server knows, or is judged on the way
    "judged": lambda field, *tried: all(isinstance(one, dict) for one in tried),
    "bounded": lambda field, *tried: all(isinstance(one, dict) and VALUES[field] not in one.values() for one in tried),
    "kept": lambda field, *tried: all(isinstance(one, dict) or one == 404 for one in tried),
    "false": lambda field, *tried: all(one[field] is False for one in tried),
    "policy": lambda field, plain, may, child: _arrived(field, plain) and _arrived(field, may) and child == 400,
    "key": lambda field, plain, may, child: plain == 400 and _arrived(field, may),
    "refused": lambda field, *tried: tried == (400, 400, 400),
    "—": lambda field, *tried: True,
}
