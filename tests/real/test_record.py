"""What a recorder gets from vLLM, and what it gets through a Kindrail that judges nothing: the same.

The recorder is a script that sends close on a hundred requests of all kinds and writes down the answers. It is not part
of this repository, it lies in `recipes/` of the folder that `KINDRAIL_SHARED` names, or of `shared/` beside the
checkout. What may differ stands in the tables below, each with its reason, and an entry that nothing needs any more
fails the test.
"""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from house import house

from proxy.config import KeyEntry
from proxy.keyring import hashed, new_key
from proxy.policy.load import load_policy

pytestmark = pytest.mark.real

SHARED = Path(os.environ.get("KINDRAIL_SHARED") or Path(__file__).parents[3] / "shared")
RECORDER = SHARED / "recipes/record_vllm.py"
POLICY = """
policy: nothing-judged
version: 1
about: What leaves is what came.
audience: adult
languages: [en]
tools: ["*"]
parts: {image: pass, audio: pass, file: pass}
say: {sorry: {en: Sorry.}, fallback: {en: Nothing.}}
rails:
  - {id: nothing, rail: clamp, mode: "off", why: A policy has a rail.}
"""
ALLOW = [
    "top_logprobs", "prompt_logprobs", "return_token_ids", "echo", "chat_template", "chat_template_kwargs", "documents",
    "prompt_token_ids", "prompt_embeds", "suffix", "prediction", "logits_processors", "web_search_options",
]  # fmt: skip
# The recorder sends no key, so its client gets one: `-c ... KEY RECORDER BASE OUT MODEL`.
WITH_KEY = """
import functools, httpx, runpy, sys
_, key, *sys.argv = sys.argv
httpx.Client = functools.partial(httpx.Client, headers=key and {"authorization": f"Bearer {key}"}, trust_env=False)
runpy.run_path(sys.argv[0], run_name="__main__")
"""

# -- what may differ ---------------------------------------------------------------------------------------------------

OWN_WORDS = "what the house refuses itself is told in its own words, by OpenAI's names for fields"
NO_ROUTE = "only routes that pass the line are served"
ANSWERED_BY_THE_HOUSE = {  # recording -> status, code of the error, and why
    **dict.fromkeys(
        ["get_health", "get_version", "get_load", "get_ping", "get_openapi", "get_unknown_path", "get_server_info",
         "tokenize_chat", "tokenize_prompt", "detokenize", "moderations", "messages_anthropic",
         "messages_anthropic_stream"], (404, "unknown_route", NO_ROUTE)),
    "chat_get_405": (405, "method_not_allowed", "every error has OpenAI's shape"),
    "responses_get_unknown": (405, "method_not_allowed", "a response that is kept is masked: it can be gone on from, not read"),
    "err_bad_json": (400, "invalid_json", OWN_WORDS),
    "err_empty_body": (400, "invalid_json", OWN_WORDS),
    "err_content_type_text": (415, "unsupported_media_type", OWN_WORDS),
    "err_messages_missing": (400, None, OWN_WORDS),
    "err_messages_empty": (400, None, OWN_WORDS),
    "err_role_missing": (400, None, OWN_WORDS),
    "err_type": (400, "invalid_type", OWN_WORDS),
    "err_n_0": (400, "unsupported_value", OWN_WORDS),
    "err_n_too_big": (400, "unsupported_value", "16 answers are guarded at once"),
    "embeddings": (404, None, "this vLLM has no such route, and says so in FastAPI's shape"),
}  # fmt: skip
ANSWERED_IN_ANOTHER_WAY = {
    "get_metrics": "the house has metrics of its own",
    "get_model_one": "the house finds the model in vLLM's list; vLLM has no such route",
    "err_stream_options_without_stream": "vLLM is always asked for a stream, and takes them there",
}

NEVER_STREAMED = "vLLM tells it in whole answers alone, and the house always asks for a stream"
OPENAIS = "a response is made from a chat answer, in OpenAI's form and with OpenAI's defaults"
BY_CHANCE = "no temperature is given: each answer is another"
CUT_OFF = "what the token limit cut off is incomplete: so OpenAI has it"
DIFFERENCES = [  # recordings, `place: directly -> through the house`, why
    ("*", "body.error.code: 40[04] -> null", "OpenAI's codes are words; vLLM repeats the status there"),
    *[("[ceot]*", f"body.choices.*.{name}: null -> nothing", NEVER_STREAMED) for name in (
        "message.refusal", "message.annotations", "message.audio", "message.function_call", "message.reasoning",
        "routed_experts", "prompt_logprobs")],
    *[("[ceot]*", f"body.{name}: null -> nothing", NEVER_STREAMED) for name in (
        "service_tier", "prompt_logprobs", "kv_transfer_params", "ec_transfer_params", "metrics",
        "usage.prompt_tokens_details.multimodal_tokens", "usage.completion_tokens_details",
        "usage.prompt_tokens_details.created_cache_tokens")],
    *[(name, "body.*prompt_logprobs: [[]* -> nothing", NEVER_STREAMED) for name in (
        "chat_prompt_logprobs", "chat_echo_continue", "completions_echo_logprobs")],
    ("completions_echo_logprobs", "body.choices.0.prompt_token_ids: null -> *", "vLLM tells it on streams alone"),
    ("tools_*", 'body.choices.0.message.content: "" -> null', "so OpenAI has it beside calls, and vLLM with tool_choice auto"),
    ("chat_request_id", "body.choices.0.message.content: *", BY_CHANCE),
    *[("responses*", f"*.{change}", OPENAIS) for change in (
        "metadata: null -> {}", 'tool_choice: "none" -> "auto"', "top_p: 1.0 -> null", "prompt: null -> nothing",
        "reasoning: null -> {*", 'service_tier: "auto" -> null', "text: null -> {*", "presence_penalty: 0.0 -> nothing",
        "frequency_penalty: 0.0 -> nothing", "*_transfer_params: null -> nothing", "*put_messages: null -> nothing",
        "prompt_cache_key: nothing -> null", "safety_identifier: nothing -> null", "store: nothing -> true",
        "error: nothing -> null", "phase: null -> nothing", "logprobs: null -> [[]]", "*_per_turn: [[]] -> nothing",
        "tool_output_tokens: 0 -> nothing", "created_cache_tokens: nothing -> 0", "async: null -> nothing",
        "caller: null -> nothing", "allowed_callers: null -> nothing", "namespace: null -> nothing",
        "defer_loading: null -> nothing", "output_schema: null -> nothing")],
    ("responses*", '*.status: "completed" -> "incomplete"', CUT_OFF),
    ("responses_stream", 'events.*.type: "response.completed" -> "response.incomplete"', CUT_OFF),
]  # fmt: skip
CALLS_COME_WHOLE = "tools_*_stream"  # a call leaves once it is judged, and with it what is told beside its pieces

# -- recordings --------------------------------------------------------------------------------------------------------

IDS_AND_TIMES = frozenset({"id", "created", "created_at", "completed_at", "item_id", "call_id"})
OF_THE_CACHE = frozenset({"cached_tokens", "created_cache_tokens"})  # the first run fills it
NOTHING = object()


@dataclass(frozen=True)
class Recording:
    """One answer. Of a stream `body` is None."""

    name: str
    status: int
    kind: str  # the content-type
    body: object
    events: list

    @classmethod
    def read(cls, folder, name):
        stream = folder / f"{name}.sse"
        told = json.loads((folder / f"{name}{'.meta' if stream.exists() else ''}.json").read_text("utf-8"))
        lines = stream.read_text("utf-8").splitlines() if stream.exists() else []
        events = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
        parsed = [one if one == "[DONE]" else json.loads(one) for one in events]
        kind = told["headers"].get("content-type", "")
        return cls(name, told["status"], kind, plain(told.get("body")), plain(parsed))

    @property
    def answers(self):
        """What the events of a stream come to: the text, tokens, calls and reason of each choice; and the usage."""
        found = {}
        for event in self.events[:-1]:
            for choice in event["choices"]:
                answer = found.setdefault(
                    choice["index"], {"text": "", "calls": {}, "reasons": [], "ids": [], "logprobs": []}
                )
                delta = choice.get("delta", {})
                answer["text"] += choice.get("text") or delta.get("content") or ""
                answer["reasons"] += [choice["finish_reason"]] if choice["finish_reason"] else []
                answer["ids"] += choice.get("token_ids") or []
                answer["logprobs"] += (choice.get("logprobs") or {}).get("content") or []
                for part in delta.get("tool_calls") or ():
                    call = answer["calls"].setdefault(part["index"], ["", ""])
                    call[0] += part["function"].get("name") or ""
                    call[1] += part["function"].get("arguments") or ""
        return found, [event["usage"] for event in self.events[:-1] if event.get("usage")][-1:]

    @property
    def frames(self):
        """The events of each choice without the text that they bring: the first, the last, and those between.

        Alike ones count once: vLLM sends two tokens in one event when it lags. In which order choices take turns is
        its whim too. Key "": what belongs to no choice.
        """
        told = {}
        for event in self.events:
            choices = event.get("choices") if event != "[DONE]" else None
            told.setdefault(str(choices[0]["index"]) if choices else "", []).append(frame(event))
        return {
            index: {"first": frames[0], "last": frames[-1], "between": different(frames[1:-1])}
            for index, frames in told.items()
        }


def frame(event):
    """The event without its text, and of usage the names alone."""
    if event == "[DONE]":
        return event
    if str(event.get("type")).endswith(".delta"):  # of a response
        return without(event, "delta", "logprobs", "sequence_number")
    bare = without(event, "sequence_number")
    if bare.get("choices"):
        bare["choices"] = [without(one, "text", "logprobs", "token_ids") for one in bare["choices"]]
        bare["choices"] = [{**one, "delta": without(one.get("delta", {}), "content")} for one in bare["choices"]]
    if bare.get("usage"):
        bare["usage"] = sorted(bare["usage"])
    return bare


def different(frames):
    return list({json.dumps(one): one for one in frames}.values())


def without(fields, *names):
    return {key: value for key, value in fields.items() if key not in names}


def plain(value):
    """The value without ids, times, and what depends on how often it was asked."""
    if isinstance(value, dict):
        shown = {key: plain(one) for key, one in value.items() if key not in IDS_AND_TIMES}
        return {key: 0 if key in OF_THE_CACHE and one else one for key, one in shown.items()}
    return [plain(one) for one in value] if isinstance(value, list) else value


def differences(direct, through, place):
    """Where two values differ, as `place: direct -> through`."""
    if isinstance(direct, dict) and isinstance(through, dict):
        for key in {**direct, **through}:
            yield from differences(direct.get(key, NOTHING), through.get(key, NOTHING), f"{place}.{key}")
    elif isinstance(direct, list) and isinstance(through, list) and len(direct) == len(through):
        for number, (one, other) in enumerate(zip(direct, through, strict=True)):
            yield from differences(one, other, f"{place}.{number}")
    elif direct != through:
        yield f"{place}: {shown(direct)} -> {shown(through)}"


def shown(value):
    return "nothing" if value is NOTHING else json.dumps(value, ensure_ascii=False)


@pytest.fixture(scope="module")
def pairs(vllm, tmp_path_factory):
    """Every recording by name: made directly, and through the house."""
    if not RECORDER.exists():
        pytest.skip(f"no {RECORDER}: set KINDRAIL_SHARED to the folder that has recipes/record_vllm.py")
    folder = tmp_path_factory.mktemp("recordings")
    direct, through = folder / "direct", folder / "through"
    asyncio.run(_record_both(vllm.url, direct, through))
    names = {each: {path.name.split(".")[0] for path in each.iterdir()} for each in (direct, through)}
    assert names[direct] == names[through]
    assert len(names[direct]) > 90
    return {name: (Recording.read(direct, name), Recording.read(through, name)) for name in sorted(names[direct])}


async def _record_both(url, direct, through):
    file = direct.parent / "nothing-judged.yaml"
    file.write_text(POLICY, "utf-8")
    key = new_key()
    opened = KeyEntry(id="recorder", hash=hashed(key), allow=ALLOW)
    await _record("", url, direct)
    async with house(policy=load_policy(file), backend_url=url, keys=[opened]) as home:
        await _record(key, home.url, through)


async def _record(key, url, folder):
    command = [sys.executable, "-c", WITH_KEY, key, RECORDER, url, folder, "buddy"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0


def compared(pairs):
    """The recordings that must be alike, and what else differs in them."""
    own = {*ANSWERED_BY_THE_HOUSE, *ANSWERED_IN_ANOTHER_WAY}
    for name, (direct, through) in pairs.items():
        if name not in own:
            assert (through.status, through.kind) == (direct.status, direct.kind), name
            yield name, direct, through


def found(pairs):
    """Every difference: the recording, and what it is."""
    for name, direct, through in compared(pairs):
        yield from ((name, one) for one in differences(direct.body, through.body, "body"))
        if not fnmatchcase(name, CALLS_COME_WHOLE):
            yield from ((name, one) for one in differences(*frames_of_both(direct, through), "events"))


def frames_of_both(direct, through):
    """Their frames; none between the first and the last where one of the two has none, so few tokens there are."""
    both = direct.frames, through.frames
    for index in both[0].keys() & both[1].keys():
        if not all(frames[index]["between"] for frames in both):
            both[0][index]["between"] = both[1][index]["between"] = []
    return both


def permits(rule, name, difference):
    return fnmatchcase(name, rule[0]) and fnmatchcase(difference, rule[1])


# -- tests -------------------------------------------------------------------------------------------------------------


def test_answers_differ_in_what_is_listed_alone(pairs):
    assert [one for one in found(pairs) if not any(permits(rule, *one) for rule in DIFFERENCES)] == []


def test_everything_listed_is_needed(pairs):
    all_found = list(found(pairs))
    rules = [rule for rule in DIFFERENCES if rule[2] != BY_CHANCE]
    assert [rule for rule in rules if not any(permits(rule, *one) for one in all_found)] == []
    assert {*ANSWERED_BY_THE_HOUSE, *ANSWERED_IN_ANOTHER_WAY} <= pairs.keys()


def test_streams_come_to_the_same_texts_calls_reasons_and_usage(pairs):
    chats = [one for one in compared(pairs) if one[1].events and "responses" not in one[0]]
    assert len(chats) > 12
    for name, direct, through in chats:
        assert through.answers == direct.answers, name
        assert through.events[-1] == direct.events[-1] == "[DONE]"


@pytest.mark.parametrize("name", sorted(ANSWERED_BY_THE_HOUSE))
def test_what_the_house_answers_itself(pairs, name):
    status, code, _ = ANSWERED_BY_THE_HOUSE[name]
    _, through = pairs[name]
    error = through.body["error"]
    assert (through.status, error["code"]) == (status, code)
    assert set(error) == {"message", "type", "param", "code"}


def test_what_the_house_answers_in_another_way(pairs):
    assert {pairs[name][1].status for name in ANSWERED_IN_ANOTHER_WAY} == {200}
    listed, one = pairs["get_models"][1].body, pairs["get_model_one"][1].body
    assert one == listed["data"][0]
