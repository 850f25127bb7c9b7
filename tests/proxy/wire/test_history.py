"""How much of a conversation the model reads: whole turns, within the bound, and a beginning that stays as it is."""

from dataclasses import replace
from itertools import pairwise

import pytest
from house import assistant, house, shipped
from hypothesis import given
from hypothesis import strategies as st
from model import Model

from proxy.policy.schema import History
from proxy.wire.history import bounded

NAMES = {"u": "user", "a": "assistant", "t": "tool", "s": "system", "d": "developer"}


def talk(words):
    return [{"role": NAMES[word[0]], "content": word} for word in words.split()]


def names(messages):
    return " ".join(message["content"] for message in messages)


@pytest.mark.parametrize(
    ("said", "most", "kept"),
    [
        ("u1 a2 u3 a4 u5", 5, "u1 a2 u3 a4 u5"),
        ("u1 a2 u3 a4 u5", 4, "u3 a4 u5"),
        ("u1 a2 u3 a4 u5 a6 u7", 4, "u5 a6 u7"),
        ("u1 a2 u3 a4 u5 a6 u7", 6, "u5 a6 u7"),  # a block of three, in whole turns
        ("s0 u1 a2 u3 a4 u5", 4, "s0 u3 a4 u5"),
        ("s0 u1 a2 d0 u3 a4 u5", 4, "s0 d0 u3 a4 u5"),
        ("u1 a2 t3 a4 u5", 4, "u5"),
        ("u1 a2 t3 u4 a5 u6 u7", 4, "u6 u7"),
        ("u1 u2 u3 u4 u5", 2, "u1 u2 u3 u4 u5"),  # one turn: the last always stays
        ("u1 a2 u3 u4 u5", 2, "u3 u4 u5"),
        ("a1 u2 a3 u4", 3, "u2 a3 u4"),  # a greeting comes first
        ("u1", 2, "u1"),
        ("s0", 2, "s0"),
    ],
)
def test_messages(said, most, kept):
    assert names(bounded(talk(said), History(messages=most))) == kept


def test_without_a_bound_nothing_goes():
    messages = talk("u1 a2 u3")
    assert bounded(messages, History()) is messages


@pytest.mark.parametrize(
    ("text", "tokens"), [("abc" * 33, 38), ("가" * 33, 38), ("", 5)], ids=["letters", "Hangul", "empty"]
)
def test_tokens_are_estimated(text, tokens):
    """Two turns of three messages each take the bound exactly; one message more is over it."""
    turn = [{"role": "user", "content": text}, *({"role": "assistant", "content": text} for _ in range(2))]
    history = History(tokens=max(64, 6 * tokens))
    assert len(bounded(turn * 2, history)) == 6
    more = [{"role": "user", "content": "x" * (history.tokens - 6 * tokens) * 3}]
    assert len(bounded([*turn * 2, *more], history)) < 7


def test_parts_and_calls_count_too():
    call = {"function": {"name": "f", "arguments": "x" * 300}}
    parts = [{"type": "text", "text": "x" * 300}, {"type": "image_url"}]
    for heavy in ({"content": None, "tool_calls": [call]}, {"content": parts}):
        messages = [*talk("u1"), {"role": "assistant", **heavy}, *talk("u2")]
        assert names(bounded(messages, History(tokens=64))) == "u2"
        assert len(bounded(messages, History(tokens=200))) == 3


# -- a conversation as it grows ----------------------------------------------------------------------------------------

TURNS = st.lists(
    st.tuples(
        st.lists(st.integers(0, 120), min_size=1, max_size=2),  # lengths of what the user says
        st.lists(st.integers(0, 120), min_size=1, max_size=3),  # ... and the model, tools in between
    ),
    min_size=1,
    max_size=40,
)
BOUNDS = st.one_of(
    st.builds(lambda most: History(messages=most), st.integers(2, 20)),
    st.builds(lambda most: History(tokens=most), st.integers(64, 600)),
    st.builds(lambda m, t: History(messages=m, tokens=t), st.integers(2, 20), st.integers(64, 600)),
)


def prompts(turns, history):
    """What the model reads at each turn, of a conversation with instructions, and what it was made of."""
    said = [{"role": "system", "content": "s"}]
    for users, answers in turns:
        said += [{"role": "user", "content": "x" * length} for length in users]
        yield bounded(said, history), list(said)
        roles = ["assistant", "tool", "assistant"]
        said += [{"role": role, "content": "y" * length} for role, length in zip(roles, answers, strict=False)]


@given(TURNS, BOUNDS)
def test_whole_turns_within_the_bound(turns, history):
    for number, (kept, said) in enumerate(prompts(turns, history)):
        assert kept[0] == said[0]
        rest = kept[1:]
        assert rest == said[len(said) - len(rest) :]  # the end of the conversation, nothing left out within
        lasts = [
            sum(len(users) + min(3, len(answers)) for users, answers in turns[n:number]) for n in range(number + 1)
        ]
        assert len(rest) - len(turns[number][0]) in lasts  # it begins where a turn begins
        is_last_alone = len(rest) == len(turns[number][0])
        if history.messages is not None:
            assert len(rest) <= history.messages or is_last_alone
        if history.tokens is not None:
            assert sum(len(one["content"]) // 3 + 5 for one in rest) <= history.tokens or is_last_alone


@given(TURNS, BOUNDS)
def test_the_beginning_only_moves_on_and_seldom(turns, history):
    """Between two moves each prompt is the beginning of the next: the model server has it in its cache."""
    begins, sizes = [], []
    before = None
    for kept, said in prompts(turns, history):
        begin = len(said) - len(kept)
        if before is not None and begin == begins[-1]:
            assert kept[: len(before)] == before
        begins.append(begin)
        sizes.append(len(said) - 1)
        before = kept
    assert begins == sorted(begins)
    if history.tokens is None:
        moves = len(set(begins)) - 1
        assert moves <= -(-sizes[-1] // max(1, history.messages // 2))


@pytest.mark.parametrize("most", [8, 20, 40])
def test_in_a_conversation_of_equal_turns_most_prompts_extend_the_one_before(most):
    kept = [names(prompt) for prompt, _ in prompts([([n], [n]) for n in range(100)], History(messages=most))]
    extended = sum(after.startswith(before) for before, after in pairwise(kept))
    assert extended >= 99 * (1 - 4 / most)


# -- through the house -------------------------------------------------------------------------------------------------


async def test_the_model_reads_no_more_than_the_bound():
    general = shipped("general")
    policy = replace(general, model=general.model.model_copy(update={"history": History(messages=8)}))
    model = Model(*(f"Answer {number}." for number in range(12)))
    async with house(model, policy) as home:
        said = [{"role": "system", "content": "Be kind."}]
        for number in range(12):
            said.append({"role": "user", "content": f"Question {number}"})
            said.append(assistant(await home.say(*said)))
        sessions = {turn.opened["session"] for turn in await home.audit()}
    assert len(sessions) == 1  # the whole transcript finds it
    extended = 0
    for number, asked in enumerate(model.asked):
        system, *rest = asked["messages"]
        assert system == {"role": "system", "content": "Be kind."}
        assert rest == said[1 + 2 * number + 1 - len(rest) : 1 + 2 * number + 1]
        assert rest[0]["role"] == "user"
        assert len(rest) <= 8
        before = model.asked[number - 1]["messages"] if number else []
        extended += asked["messages"][: len(before)] == before
    assert extended >= 8


async def test_small_bound():
    general = shipped("general")
    policy = replace(general, model=general.model.model_copy(update={"history": History(messages=4)}))
    model = Model("Yes.")
    async with house(model, policy) as home:
        await home.ask({"role": "system", "content": "s"}, *talk("u1 a2 u3 a4 u5 a6 u7"))
        await home.ask(*talk("u1 a2 u3"))
    assert names(model.asked[0]["messages"]) == "s u5 a6 u7"
    assert names(model.asked[1]["messages"]) == "u1 a2 u3"
