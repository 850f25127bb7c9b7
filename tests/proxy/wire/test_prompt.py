"""The prompt: system text, masked messages, notes and bounded settings, over a body that stays the client's."""

import copy

import orjson
import pytest

from proxy.policy.schema import Generation
from proxy.wire.messages import Permits
from proxy.wire.prompt import storable, upstream_body
from proxy.wire.request import parse

EVERYTHING = frozenset({"repetition_penalty", "continuous_usage_stats"})


def system(text):
    return {"role": "system", "content": text}


def developer(text):
    return {"role": "developer", "content": text}


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def body(*messages, settings=None, texts=None, notes=(), knows=frozenset(), **fields):
    request = parse(orjson.dumps({"messages": messages or (user("Hi"),), **fields}), Permits())
    before = copy.deepcopy(request.body)
    made = upstream_body(request, Generation.model_validate(settings or {}), texts or {}, notes, knows)
    assert request.body == before, "the client's body was changed"
    return made


def messages(*sent, **how):
    return body(*sent, **how)["messages"]


JOIN = {"system": {"how": "join", "text": " Be kind.\n"}}
REPLACE = {"system": {"how": "replace", "text": "Be kind."}}


@pytest.mark.parametrize(
    ("settings", "sent", "made"),
    [
        ({}, [system("App."), user("Hi")], [system("App."), user("Hi")]),
        ({"system": {"how": "replace", "text": " \n"}}, [system("App."), user("Hi")], [system("App."), user("Hi")]),
        (JOIN, [user("Hi")], [system("Be kind."), user("Hi")]),
        (JOIN, [system("App."), user("Hi")], [system("Be kind.\n\nApp."), user("Hi")]),
        (JOIN, [developer("App."), user("Hi")], [developer("Be kind.\n\nApp."), user("Hi")]),
        (JOIN, [user("Hi"), system("App.")], [system("Be kind.\n\nApp."), user("Hi")]),
        (JOIN, [system("1"), user("Hi"), system("2")], [system("Be kind.\n\n1"), user("Hi"), system("2")]),
        (
            JOIN,
            [
                {
                    "role": "system",
                    "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
                    "name": "n",
                }
            ],
            [system("Be kind.\n\na\nb")],
        ),
        (REPLACE, [user("Hi")], [system("Be kind."), user("Hi")]),
        (REPLACE, [system("1"), user("Hi"), developer("2")], [system("Be kind."), user("Hi")]),
    ],
)
def test_the_system_text_is_joined_or_replaced(settings, sent, made):
    assert messages(*sent, settings=settings) == made


GEMMA = {**JOIN, "fold_system": ["*gemma*", "Phi-?"]}
FOLDED = [user("Be kind.\n\nApp.\n\nHi")]
UNFOLDED = [system("Be kind.\n\nApp."), user("Hi")]


@pytest.mark.parametrize(
    ("model", "made"),
    [
        ("google/gemma-2-9b-it", FOLDED),
        ("Google/GEMMA-2", FOLDED),
        ("phi-3", FOLDED),
        ("phi-33", UNFOLDED),
        ("llama-3", UNFOLDED),
        ("", UNFOLDED),
    ],
)
def test_models_without_a_system_role_get_it_folded(model, made):
    assert messages(system("App."), user("Hi"), settings=GEMMA, model=model) == made


@pytest.mark.parametrize(
    ("settings", "sent", "made"),
    [
        (GEMMA, [assistant("Yes?")], [user("Be kind."), assistant("Yes?")]),
        (GEMMA, [assistant("Yes?"), user("Hi")], [assistant("Yes?"), user("Be kind.\n\nHi")]),
        (GEMMA, [user("Hi"), developer("Late."), user("Yo")], [user("Be kind.\n\nLate.\n\nHi"), user("Yo")]),
        ({"fold_system": ["*gemma*"]}, [user("Hi")], [user("Hi")]),
        ({"fold_system": ["*gemma*"]}, [system("App."), user("Hi")], [user("App.\n\nHi")]),
    ],
)
def test_where_the_fold_goes(settings, sent, made):
    assert messages(*sent, settings=settings, model="gemma") == made


@pytest.mark.parametrize(
    ("sent", "notes", "made"),
    [
        ([user("A"), assistant("B"), user("C")], ["one", "two"], [user("A"), assistant("B"), user("C\n\n(one)\n\n(two)")]),
        ([user("A"), assistant("B")], ["one"], [user("A\n\n(one)"), assistant("B")]),
        ([user("A")], [], [user("A")]),
        ([assistant("B")], ["one"], [assistant("B")]),
        (
            [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "n"}],
            ["one"],
            [user("a\nb\n\n(one)")],
        ),
    ],
)  # fmt: skip
def test_notes_stand_in_the_last_user_message_alone(sent, notes, made):
    assert messages(*sent, notes=notes) == made


def test_notes_on_a_folded_prompt():
    made = messages(system("App."), user("A"), assistant("B"), user("C"), settings=GEMMA, notes=["one"], model="gemma")
    assert made == [user("Be kind.\n\nApp.\n\nA"), assistant("B"), user("C\n\n(one)")]


def test_masked_texts_take_the_place_of_those_sent():
    parts = {"role": "user", "content": [{"type": "text", "text": "Tom"}], "name": "n"}
    made = messages(system("s"), parts, assistant("Tom!"), user("Hi"), texts={1: "a friend", 2: ""})
    assert made == [system("s"), user("a friend"), assistant(""), user("Hi")]


TOLD = [{"type": "text", "text": "a", "cache_control": {"b": "c"}}, {"type": "text", "text": "d"}]


@pytest.mark.parametrize(
    ("sent", "made"),
    [
        ({"role": "user", "content": "Hi", "name": "unjudged", "odd": "unjudged"}, user("Hi")),
        ({"role": "user", "content": TOLD, "tool_call_id": "unjudged"}, user("a\nd")),
        ({"role": "user", "content": [{"type": "text", "text": "Hi", "refusal": "unjudged"}]}, user("Hi")),
        ({"role": "critic", "content": "Hi", "name": "unjudged"}, {"role": "critic", "content": "Hi"}),
        *(
            ({"role": "assistant", "content": "Hi", name: "unjudged"}, assistant("Hi"))
            for name in ("name", "reasoning_content", "reasoning", "refusal", "audio", "function_call")
        ),
        ({"role": "assistant", "content": [{"type": "refusal", "refusal": "No", "text": "unjudged"}]}, assistant("No")),
        ({"role": "assistant", "content": None, "refusal": "No"}, assistant("No")),
        ({"role": "user", "content": "Hi", "cache": {"keep": True, "odd": "unjudged"}}, user("Hi")),
        ({"role": "user", "content": "Hi", "weight": 0.5}, {**user("Hi"), "weight": 0.5}),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "odd": 1, "function": {"name": "f", "arguments": "{}"}}]},
            {
                **assistant(""),
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
        ),
        (
            {"role": "tool", "content": TOLD, "tool_call_id": "c", "name": "f", "odd": "unjudged"},
            {"role": "tool", "content": "a\nd", "tool_call_id": "c", "name": "f"},
        ),
        ({"role": "function", "content": "42", "name": "f"}, {"role": "function", "content": "42", "name": "f"}),
        ({"role": "system", "content": TOLD, "name": "n"}, {"role": "system", "content": TOLD}),
        ({"role": "developer", "content": "App.", "odd": 1}, developer("App.")),
    ],
)
def test_a_message_goes_up_with_what_was_judged_of_it(sent, made):
    assert messages(sent, user("Yo")) == [made, user("Yo")]


BOUNDS = {"temperature": {"min": 0.1, "max": 0.7, "default": 0.2}, "top_p": {"max": 0.9}, "max_tokens": 100}
PLAIN = {"temperature": 0.2, "top_p": 0.9, "max_tokens": 100}  # what those bounds make of a request without settings


@pytest.mark.parametrize(
    ("settings", "sent", "made"),
    [
        ({}, {}, {}),
        ({}, {"temperature": 2, "top_p": 1, "max_tokens": 9999}, {"temperature": 2, "top_p": 1, "max_tokens": 9999}),
        (BOUNDS, {}, PLAIN),
        (BOUNDS, {"temperature": None, "max_tokens": None}, PLAIN),
        (BOUNDS, {"temperature": 0}, {**PLAIN, "temperature": 0.1}),
        (BOUNDS, {"temperature": 0.5}, {**PLAIN, "temperature": 0.5}),
        (BOUNDS, {"temperature": 1.5}, {**PLAIN, "temperature": 0.7}),
        (BOUNDS, {"top_p": 0.95}, PLAIN),
        (BOUNDS, {"top_p": 0.5}, {**PLAIN, "top_p": 0.5}),
        (BOUNDS, {"max_tokens": 50}, {**PLAIN, "max_tokens": 50}),
        (BOUNDS, {"max_tokens": 500}, PLAIN),
        (BOUNDS, {"max_completion_tokens": 500}, {"temperature": 0.2, "top_p": 0.9, "max_completion_tokens": 100}),
        (BOUNDS, {"max_completion_tokens": 50, "max_tokens": 500}, {**PLAIN, "max_completion_tokens": 50}),
        ({"temperature": {"max": 0.7, "default": 2.0}}, {}, {"temperature": 0.7}),
        ({"temperature": {"min": 0.0}}, {}, {}),
        ({"temperature": {"min": 0.0}}, {"temperature": -1}, {"temperature": 0.0}),
    ],
)
def test_settings_are_bounded(settings, sent, made):
    asked = body(settings=settings, **sent)
    names = ("temperature", "top_p", "max_tokens", "max_completion_tokens")
    assert {name: asked[name] for name in names if asked.get(name) is not None} == made


@pytest.mark.parametrize(
    ("knows", "sent", "penalty"),
    [(frozenset(), {}, None), (frozenset(), {"repetition_penalty": 2.0}, 2.0), (EVERYTHING, {}, 1.1),
     (EVERYTHING, {"repetition_penalty": 2.0}, 1.1)],
)  # fmt: skip
def test_the_repetition_penalty_goes_where_it_is_known(knows, sent, penalty):
    assert body(settings={"repetition_penalty": 1.1}, knows=knows, **sent).get("repetition_penalty") == penalty
    assert "repetition_penalty" not in body(knows=knows)


@pytest.mark.parametrize(
    ("knows", "sent", "options"),
    [
        (frozenset(), {}, {"include_usage": True}),
        (frozenset(), {"stream_options": None}, {"include_usage": True}),
        (frozenset(), {"stream_options": {"include_usage": False, "odd": 1}}, {"include_usage": True, "odd": 1}),
        (EVERYTHING, {}, {"include_usage": True, "continuous_usage_stats": True}),
        (EVERYTHING, {"stream_options": {"continuous_usage_stats": False}}, {"include_usage": True, "continuous_usage_stats": True}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [True, False, None])
def test_the_backend_always_streams_and_tells_usage(knows, sent, options, stream):
    asked = body(knows=knows, stream=stream, **sent)
    assert (asked["stream"], asked["stream_options"]) == (True, options)


def test_unknown_fields_pass():
    asked = body(settings=BOUNDS, priority=3, vllm_xargs={"a": [1]}, stop=["x"], model="m", user=None)
    assert (asked["priority"], asked["vllm_xargs"], asked["stop"], asked["model"], asked["user"]) == (
        3,
        {"a": [1]},
        ["x"],
        "m",
        None,
    )


@pytest.mark.parametrize("model", ["gemma-2", "llama-3"])
def test_a_prompt_grows_at_its_end_alone(model):
    """System text and earlier turns come out byte for byte the same, or the model server's prefix cache is lost."""
    talk = [system("App."), user("Tom here")]
    last = None
    for turn in range(4):
        made = messages(*talk, settings=GEMMA, model=model, texts={1: "a friend here"}, knows=EVERYTHING)
        if last is not None:
            assert orjson.dumps(made).startswith(orjson.dumps(last)[:-1])
        last = made
        talk += [assistant(f"Answer {turn}"), user(f"Question {turn}")]
    assert len(last) == (7 if model == "gemma-2" else 8)


def test_parts_that_are_no_text_stand_beside_the_judged_text():
    picture = {"type": "image_url", "image_url": {"url": "x"}}
    sent = user([{"type": "text", "text": "This is Tom"}, picture])
    request = parse(orjson.dumps({"messages": [sent]}), Permits(parts=frozenset({"image"})))
    (made,) = upstream_body(request, Generation(), {0: "This is a friend"}, (), frozenset())["messages"]
    assert made["content"] == [{"type": "text", "text": "This is a friend"}, picture]


def test_a_note_leaves_the_pictures_where_they_are():
    picture = {"type": "image_url", "image_url": {"url": "x"}}
    request = parse(orjson.dumps({"messages": [user([picture])]}), Permits(parts=frozenset({"image"})))
    (made,) = upstream_body(request, Generation(), {}, ["Be brief."], frozenset())["messages"]
    assert made["content"] == [{"type": "text", "text": "\n\n(Be brief.)"}, picture]


def test_the_arguments_of_earlier_calls_are_those_that_may_be_read():
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"who": "Tom"}'}}
    sent = [user("Hi"), {**assistant(None), "tool_calls": [call]}]
    request = parse(orjson.dumps({"messages": sent}), Permits())
    made = upstream_body(request, Generation(), {(1, 0): "{}"}, (), frozenset())["messages"][1]
    assert made["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}


def test_what_may_be_stored_of_a_message():
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"who": "Tom"}'}}
    assert storable({"role": "user", "content": "Tom", "name": "Tom"}, ["<PERSON>"]) == user("<PERSON>")
    assert storable({"role": "tool", "content": "Tom", "tool_call_id": "c"}, ["x"]) == {
        "role": "tool",
        "content": "x",
        "tool_call_id": "c",
    }
    kept = storable({**assistant(None), "tool_calls": [call, call]}, ["", '{"who": "<PERSON>"}', "no json"])
    assert [one["function"]["arguments"] for one in kept["tool_calls"]] == ['{"who": "<PERSON>"}', "{}"]


@pytest.mark.parametrize("sent", [{}, {"store": True}, {"store": False}])
def test_nobody_stores_upstream(sent):
    made = upstream_body(
        parse(orjson.dumps({"messages": [user("Hi")], **sent}), Permits()), Generation(), {}, (), frozenset()
    )
    assert made.get("store", False) is False


def test_a_refusal_is_text_too():
    parts = [{"type": "refusal", "refusal": "No."}, {"type": "text", "text": "Be brief."}]
    made = messages({"role": "system", "content": parts}, user("Hi"), settings=JOIN)
    assert made == [system("Be kind.\n\nNo.\nBe brief."), user("Hi")]
