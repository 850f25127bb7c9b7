"""The README's table of what the house does with each field: every cell is tried on a whole house."""

import json
import re
from pathlib import Path

import pytest
from fake_upstream import DONE, VLLM, chunk, says, upstream
from house import house

from proxy.config import OPENABLE, KeyEntry
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
    "truncate_prompt_tokens": 12,
    "truncation_side": "left",
    "add_special_tokens": True,
    "continue_final_message": True,
    "kv_transfer_params": {"a": 1},
    "mm_processor_kwargs": {"a": 1},
    "media_io_kwargs": {"a": 1},
    "models": ["other"],
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
    "image": "data:image/png;base64,AA==",
    "audio_part": "AAAA",
    "file": "data:text/plain;base64,AA==",
}
PARTS = {  # as each route writes them
    ROUTES[0]: {
        "image": {"type": "image_url", "image_url": {"url": VALUES["image"]}},
        "audio_part": {"type": "input_audio", "input_audio": {"data": VALUES["audio_part"], "format": "wav"}},
        "file": {"type": "file", "file": {"file_data": VALUES["file"]}},
    },
    ROUTES[2]: {
        "image": {"type": "input_image", "image_url": VALUES["image"]},
        "audio_part": {"type": "input_audio", "input_audio": {"data": VALUES["audio_part"], "format": "wav"}},
        "file": {"type": "input_file", "filename": "a.txt", "file_data": VALUES["file"]},
    },
}
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
    if field in PARTS[ROUTES[0]]:
        said = {"role": "user", "content": [PARTS[route][field]]}
        return {**base, "messages" if route == ROUTES[0] else "input": [said]}
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


def test_what_a_key_can_open_stands_in_the_table():
    named = {field for field, _, word in CELLS if word == "key"} | {"audio"}
    rare = {"ec_transfer_params", "mm_payload", "return_prompt_text", "return_mm_kwargs", "return_tokens_as_token_ids"}
    routers = {
        "fallbacks",
        "route",
        "provider",
        "custom_llm_provider",
        "api_base",
        "base_url",
        "api_key",
        "extra_headers",
    }
    assert (
        OPENABLE - named - rare - routers - {"extra_body", "mock_response", "logprob_token_ids", "messages", "tools"}
        == set()
    )


async def test_every_cell_of_the_table(policy):
    keys = [
        key("plain", PLAIN),
        key("open", OPEN, allow=sorted(OPENABLE)),
        key("child", CHILD, policy="kids-buddy", allow=sorted(OPENABLE)),
    ]
    answer = says(chunk(""), chunk('{"a": 1}'), chunk("", "stop"), DONE)
    wrong = []
    async with (
        upstream(answer, VLLM) as fake,
        house(backend_url=fake.url, policy=policy, more=["kids-buddy"], keys=keys) as home,
    ):
        for field, route, word in CELLS:
            if word == "—":
                continue
            tried = [await _try(home, fake, route, field, who) for who in (PLAIN, OPEN, CHILD)]
            if not FITS[word](field, *tried):
                wrong.append((field, route, word, tried))
    assert wrong == []


async def _try(home, fake, route, field, who):
    """What reached the backend of the field, or the status that the client got."""
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
    return VALUES[field] in json.dumps(tried) if field in PARTS[ROUTES[0]] else field in tried


FITS = {
    # as it came, whoever asks
    "passes": lambda field, *tried: all(
        isinstance(one, dict) and one.get(field) in (VALUES[field], 0) for one in tried
    ),
    # reaches the model in the form that its server knows, past the rails: what they do of it, test_matrix.py tries
    "judged": lambda field, *tried: all(isinstance(one, dict) for one in tried),
    "bounded": lambda field, *tried: all(isinstance(one, dict) and VALUES[field] not in one.values() for one in tried),
    "kept": lambda field, *tried: all(isinstance(one, dict) or one == 404 for one in tried),
    "false": lambda field, *tried: all(one[field] is False for one in tried),
    "policy": lambda field, plain, may, child: _arrived(field, plain) and _arrived(field, may) and child == 400,
    "key": lambda field, plain, may, child: plain == 400 and _arrived(field, may),
    "refused": lambda field, *tried: tried == (400, 400, 400),
}
