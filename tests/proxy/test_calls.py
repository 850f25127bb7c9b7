"""Tool calls: gathered from any pieces, judged whole, let go all together or not at all."""

import itertools
import json
import random

import pytest
from saying import call, zoo

from proxy import calls
from proxy.calls import Calls
from proxy.line import Line
from proxy.memo import Memo
from proxy.turn import Turn

ROME = '{"city": "Rome"}'
MAIL, MASKED = '{"to": "tom@mail.com"}', '{"to": "<EMAIL_ADDRESS>"}'


def gather(*parts):
    line = Line(zoo(), Turn("t1", "en", "", 1000.0, {}), Memo())
    found = Calls(line, {"weather", "mail"}.__contains__)
    for part in parts:
        found.take(part if isinstance(part, list) else [part])
    return found


async def left(*parts):
    told, _ = await gather(*parts).settle()
    return [(one["function"]["name"], one["function"]["arguments"]) for one in told]


TWO = [("weather", ROME), ("mail", MASKED)]


@pytest.mark.parametrize(
    "parts",
    [
        [call(0, "a", "weather", ROME), call(1, "b", "mail", MAIL)],
        [[call(0, "a", "weather", ROME), call(1, "b", "mail", MAIL)]],
        # by character, one after the other and by turns
        [call(0, "a", "weather"), *(call(0, arguments=one) for one in ROME), call(1, "b", "mail"), *(call(1, arguments=one) for one in MAIL)],
        [call(1, "b", "mail"), call(0, "a", "weather"), *(call(n, arguments=one) for pair in itertools.zip_longest(ROME, MAIL) for n, one in enumerate(pair) if one)],
        # a name after the arguments, a name with every piece, TGI's id with every piece
        [call(0, arguments=ROME), call(0, "a", "weather"), call(1, "b", "mail", MAIL)],
        [*(call(0, "a", "weather", one) for one in ROME), *(call(1, "b", "mail", one) for one in MAIL)],
        # numbers that begin elsewhere, and leave some out
        [call(7, "b", "mail", MAIL), call(3, "a", "weather", ROME)],
        # no numbers at all: a name begins a call
        [[call(None, "a", "weather", ROME), call(None, "b", "mail", MAIL)]],
        [call(None, "a", "weather"), *(call(None, "a", arguments=one) for one in ROME), call(None, "b", "mail", MAIL)],
        [{**call(None, "a", "weather", ROME), "index": "0"}, {**call(None, "b", "mail", MAIL), "index": None}],
    ],
)  # fmt: skip
async def test_however_they_come_they_are_the_same_calls(parts):
    assert await left(*parts) == TWO


async def test_any_pieces_come_to_the_same():
    for seed in range(20):
        dice, parts = random.Random(seed), [call(0, "a", "weather"), call(1, "b", "mail")]
        rest = {0: ROME, 1: MAIL}
        while any(rest.values()):
            index = dice.choice([one for one, text in rest.items() if text])
            size = dice.randint(1, 5)
            parts.append(call(index, arguments=rest[index][:size]))
            rest[index] = rest[index][size:]
        assert await left(*parts) == TWO


async def test_ids_are_kept_and_made_where_none_is_told():
    told, blocked = await gather(call(0, "a", "weather", ROME), call(1, None, "mail", "{}")).settle()
    assert [(one["index"], one["id"], one["type"]) for one in told] == [(0, "a", "function"), (1, "call_t1_1", "function")]  # fmt: skip
    told, _ = await gather(call(0, "no id, but words", "weather", ROME)).settle()
    assert told[0]["id"] == "call_t1_0"
    assert blocked is None


@pytest.mark.parametrize("arguments", ["", "{}", "null", '{"city": "Ro', "babble", '{"city":\t"R\\u006fme"}  '])
async def test_what_nothing_is_found_in_leaves_as_it_came(arguments):
    assert await left(call(0, "a", "weather", arguments)) == [("weather", arguments)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(MAIL, MASKED), ('{"to": "tom\\u0040mail.com", "n": 1}', '{"to": "<EMAIL_ADDRESS>", "n": 1}'), ('{"to": "tom@mail.com", "bo', '{"to": "<EMAIL_ADDRESS>", "bo')],
)  # fmt: skip
async def test_data_are_redacted_where_they_stand_and_stored_so(arguments, expected):
    found = gather(call(0, "a", "mail", arguments))
    told, _ = await found.settle()
    assert told[0]["function"]["arguments"] == expected
    assert [one["function"]["arguments"] for one in found.kept] == [expected]


@pytest.mark.parametrize(
    "parts",
    [
        [call(0, "a", "shell", ROME)],
        [call(0, "a", "my zebra", ROME)],
        [call(0, "a", None, ROME)],
        [call(0, "a", "weather", ROME), call(1, "b", "shell", ROME)],
        [{"index": 0, "function": "weather"}],
        [{}],
    ],
)
async def test_a_function_that_was_not_offered_blocks_all(parts):
    found = gather(*parts)
    told, blocked = await found.settle()
    assert (told, found.kept, blocked.text, blocked.say) == ([], [], None, "")
    assert found._line.findings[-1].rail == "tools"


async def test_a_phrase_in_the_arguments_blocks_all():
    found = gather(call(0, "a", "weather", ROME), call(1, "b", "mail", '{"body": "my \\u007aebra"}'))
    told, blocked = await found.settle()
    assert (told, found.kept, blocked.text, blocked.say) == ([], [], None, "other")


async def test_more_than_is_kept_blocks_all(monkeypatch):
    monkeypatch.setattr(calls, "_MOST", 2)
    monkeypatch.setattr(calls, "_LONGEST", 40)
    # the last call that is kept is still gathered to its end
    parts = [call(0, "a", "weather", "{}"), call(1, "b", "weather"), *(call(1, arguments=one) for one in ROME)]
    assert await left(*parts) == [("weather", "{}"), ("weather", ROME)]
    assert await left(*parts, call(2, "c", "weather", "{}")) == []
    assert await left(call(0, "a", "weather", json.dumps("x" * 38))) == [("weather", json.dumps("x" * 38))]
    assert await left(call(0, "a", "weather", json.dumps("x" * 39))) == []


async def test_no_calls_are_nothing():
    assert await gather().settle() == ([], None)
