"""JSON through the line: valid before, valid after, untouched where nothing is found, and no datum in it."""

import json
from dataclasses import replace

import orjson
import pytest
from house import shipped
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.line import Line
from proxy.memo import Memo
from proxy.policy.model import Bound
from proxy.structured import judge, judge_call
from proxy.turn import Act, Turn, Verdict

pytestmark = pytest.mark.usefixtures("lists_alone")  # how well the learned model judges is tried elsewhere

PHONE, MAIL = "010-1234-5678", "tom@mail.com"
DATA = (PHONE, MAIL, "01012345678", "1012345678")
DEEP = 400


def line_of(policy="general", state=None):
    return Line(shipped(policy), Turn("t", "en", "", 1000.0, state if state is not None else {}), Memo())


async def left(text, policy="general"):
    """What leaves of a document; None: blocked."""
    return (await judge(line_of(policy), text)).text


UNTOUCHED = [
    '{"a" :\t1, "a": [true, null , -1.50e+3, "x\\u0041\\/\\n", {}],\n "": ""}  ',
    '"a"',
    "12",
    "[]",
    '{"in": "2026-11-20", "out": "2026-11-25", "at": ["10:45", "2026-11-20T10:00:00+09:00", "2026-11-25"]}',
    '["1984", "2024", "1999", "1280", "720", "300", "00184", "00199"]',
    '["05", "2024", "1999", "05", "25-11-2026"]',
    '{"lat": 37.5665351, "lon": 126.9779692, "big": 1e999, "small": 1e-999}',
    '{"first_name": "Anna", "address_line_1": "Via Roma 12", "zip": "00184"}',
    '{"a": "No.", "b": "No.", "c": "No."}',
    # no JSON
    "",
    '{"a": "cut off',
    '{"a": NaN, "b": "\\ud800"}',
    "Well, C:\\new \\u12 is fine.",
]


@pytest.mark.parametrize("text", UNTOUCHED)
async def test_what_nothing_is_found_in_leaves_as_it_came(text):
    done = await judge(line_of(), text)
    assert (done.text, done.ends, done.say) == (text, False, "")
    assert bool(done.stored.encode()) == bool(text)  # half a surrogate pair could not be stored


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'{{"a": "Call {PHONE}!", "b" : 1}}', '{"a": "Call <PHONE_NUMBER>!", "b" : 1}'),
        (f'{{"a":1,"a":"{MAIL}","a":"{MAIL}"}}', '{"a":1,"a":"<EMAIL_ADDRESS>","a":"<EMAIL_ADDRESS>"}'),
        ('{"a": "tom\\u0040mail.com"}', '{"a": "<EMAIL_ADDRESS>"}'),
        ('{"a": "\\uff10\\uff11\\uff10-1234-5678 \\ud83d\\ude00"}', '{"a": "<PHONE_NUMBER> \\ud83d\\ude00"}'),
        (f'{{"a": "곰 {MAIL} \\n"}}', '{"a": "곰 <EMAIL_ADDRESS> \\n"}'),
        ('{"t": "Tel:\\n010-1234-5678"}', '{"t": "Tel:\\n<PHONE_NUMBER>"}'),
        # numbers
        ("[1012345678, -1012345679,1012345670 ]", "[0, 0,0 ]"),
        ("[1.012345678e9, 1012345678.0]", "[0, 0]"),
        # keys
        (f'{{"{MAIL}": 1, "{PHONE}": {{}}}}', '{"<EMAIL_ADDRESS>": 1, "<PHONE_NUMBER>": {}}'),
        ('{"tom\\u0040mail.com" : 1}', '{"<EMAIL_ADDRESS>" : 1}'),
        ('{"RSSMRA85T10A562S": 1}', '{"<IT_FISCAL_CODE>": 1}'),
        # in instalments
        ('{"a":"010","b":"1234","c":"5678"}', '{"a":"<PHONE_NUMBER>","b":"<PHONE_NUMBER>","c":"<PHONE_NUMBER>"}'),
        ('["+82", "10", "1234-5678"]', '["<PHONE_NUMBER>", "<PHONE_NUMBER>", "<PHONE_NUMBER>"]'),
        ('["010", "1234", "5678", "1111", "2222"]', json.dumps(["<PHONE_NUMBER>"] * 4 + ["2222"])),
        ('["01012345678", "1234"]', '["<PHONE_NUMBER>", "1234"]'),
        # a document within a string
        (f'{{"a": "{{\\"m\\": \\"{MAIL}\\", \\"n\\":1012345678}}"}}', '{"a": "{\\"m\\": \\"<EMAIL_ADDRESS>\\", \\"n\\":0}"}'),
        ('"[\\"tom\\\\u0040mail.com\\"]"', '"[\\"<EMAIL_ADDRESS>\\"]"'),
        # no JSON
        (f"I say {MAIL} now", "I say <EMAIL_ADDRESS> now"),
        ('{"a": "Tel:\\n010-1234-5678", "b": "cut', '{"a": "Tel:\\n<PHONE_NUMBER>", "b": "cut'),
        ('{"a": NaN, "b": "tom\\u0040mail.com"}', '{"a": NaN, "b": "<EMAIL_ADDRESS>"}'),
    ],
)  # fmt: skip
async def test_data_are_redacted_in_their_place(text, expected):
    done = await judge(line_of(), text)
    assert done.text == expected
    assert done.stored == expected


async def test_a_stand_in_is_escaped():
    line = line_of()
    line.policy = replace(line.policy, stand_ins={"DEFAULT": {"en": 'a "\\" b'}})
    done = await judge(line, f'["Write to {MAIL}"]')
    assert orjson.loads(done.text) == ['Write to a "\\" b']


@pytest.mark.parametrize(
    "text",
    [
        '{"a": "Where do you live?"}',
        '{"a": "x", "a": "Hm. Where do you live? Ok."}',
        '{"a": "Where do you live?", "a": "x"}',
        '{"Where do you live?": 1}',
        '{"a": "Where do you", "b": 1, "c": "live?"}',
        '{"a": "Where do \\u0079ou live?"}',
        '["{\\"a\\": \\"Where do you live?\\"}"]',
        '["\\"Where do \\\\u0079ou live?\\""]',
        '["{\\"a\\": \\"\\\\\\"Where do \\\\\\\\u0079ou live?\\\\\\"\\"}"]',
        "Where do \\\\u0079ou live?",
        '{"a": "Where do you live?',
        "Where do you live?",
    ],
)
async def test_a_phrase_of_a_list_blocks_the_document(text):
    done = await judge(line_of("kids-buddy"), text)
    assert (done.text, done.say, done.ends) == (None, "no_secrets", False)


class Ends:
    async def check(self, segment):
        return Verdict(Act.END, say="sorry") if "X" in segment.text else Verdict()


@pytest.mark.parametrize("text", ['{"a": "no", "b": "X"}', "X", '["[\\"X\\"]"]'])
async def test_an_end_ends_the_answer(text):
    line = line_of()
    bound = Bound("ends", "ends", "ends", "enforce", "", Ends(), False, frozenset({"assistant"}), frozenset(), ())
    line.policy = replace(line.policy, rails=(*line.policy.rails, bound))
    done = await judge(line, text)
    assert (done.text, done.say, done.ends) == (None, "sorry", True)


async def test_findings_tell_the_value_and_the_choice():
    line = line_of()
    await judge(line, f'{{"a": "{MAIL}"}}', choice=2)
    assert [(found.rail, found.message, found.start) for found in line.findings] == [("hide-private", 2, 6)]


async def test_a_value_that_is_speech_passes_the_shape_rails_as_an_answer_of_its_own():
    speech = "One bear. Two cats. Three dogs. Four owls. Five foxes."
    text = json.dumps({"a": speech, "b": speech, "c": "x. " * 9 + "x", f"{'x. ' * 9}": 1})
    kept = "One bear. Two cats. Three dogs. Four owls."
    assert await left(text, "kids-buddy") == text.replace(speech, kept)


async def test_what_was_said_is_remembered_and_what_was_blocked_is_not():
    state, text = {}, '{"say": "The moon is bright tonight.", "also": "The moon is bright tonight."}'
    blocked = '{"say": "The moon is bright tonight.", "ask": "Where do you live?"}'
    assert (await judge(line_of("kids-buddy", state), blocked)).text is None
    assert (await judge(line_of("kids-buddy", state), text)).text == text
    line = line_of("kids-buddy", state)
    line.turn.id = "t2"
    done = await judge(line, text)
    assert (done.text, done.say) == (None, "")  # nothing is left of it


async def test_a_document_is_stored_masked_whatever_the_modes():
    done = await judge(line_of("observe"), f'{{"a": "Write to {MAIL}.", "n": 1012345678}}')
    assert done.text == f'{{"a": "Write to {MAIL}.", "n": 1012345678}}'
    assert done.stored == '{"a": "Write to <EMAIL_ADDRESS>.", "n": "<PHONE_NUMBER>"}'
    done = await judge(line_of("observe"), '{"a": "tom\\u0040mail.com')
    assert done.stored == '{"a": "<EMAIL_ADDRESS>'


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * DEEP + "1" + "}" * DEEP, "[" * 900 + "]" * 900])
async def test_no_depth_is_too_much(text):
    assert await left(text) == text


# -- tool calls in the text --------------------------------------------------------------------------------------------

WEATHER = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (WEATHER, WEATHER),
        (f"\n {WEATHER}\n", f"\n {WEATHER}\n"),
        (WEATHER.replace("Rome", MAIL), WEATHER.replace("Rome", "<EMAIL_ADDRESS>")),
        (WEATHER.replace("weather", "shell"), None),
        (WEATHER.replace("weather", "weather now"), None),
        (WEATHER.replace("weather", MAIL), None),
        (WEATHER.replace('"weather"', '["weather"]'), None),
        (WEATHER.replace('{"name"', '{"name": "shell", "name"'), None),
        (WEATHER.replace(', "arg', ', "name": "shell", "arg'), None),
        ("<tool_call>[]</tool_call>", None),
        ('<tool_call>[["name", "weather"]]</tool_call>', None),
        ('<tool_call>{"arguments": {}}</tool_call>', None),
        # under another name
        *(
            (WEATHER.replace('{"name"', f'{{{more}, "name"'), None)
            for more in ('"function": {"name": "shell"}', '"function": "shell"', '"tool": "shell"', '"tool_name": "shell"',
                         '"function": {"name": "weather", "name": "shell"}', '"tool": ["shell"]', '"function": {"name": {"name": "a"}}')
        ),
        ('<tool_call>{"function": {"name": "weather", "arguments": {}}}</tool_call>',) * 2,
        ('<tool_call>{"name": "weather", "tool": "shell",}</tool_call>', None),
        ("<tool_call>" + "[" * 1000 + "]" * 1000 + "</tool_call>", None),
        # no JSON: text
        (WEATHER[:-14], WEATHER[:-14]),
        ("<tool_call>weather, please</tool_call>", None),
        (f"<tool_call>{MAIL}</tool_call>", None),
        ("<tool_call>{'name': 'shell'}</tool_call>", None),
        ('<tool_call>{"name": "weather",}</tool_call>', '<tool_call>{"name": "weather",}</tool_call>'),
        ('<tool_call>{"n\\u0061me": "shell",}</tool_call>', None),
    ],
)  # fmt: skip
async def test_a_tool_call_in_the_text(text, expected):
    assert (await judge_call(line_of(), text, {"weather"}.__contains__)).text == expected


@pytest.mark.parametrize("name", ["", "1234567890", "weather now", "weather\\n", "w" * 65, "날씨"])
async def test_a_tool_has_a_well_formed_name(name):
    done = await judge_call(line_of(), WEATHER.replace("weather", name), lambda name: True)
    assert done.text is None


async def test_a_tool_call_is_stored_masked_though_it_is_blocked():
    done = await judge_call(line_of(), WEATHER.replace("Rome", MAIL), lambda name: False)
    assert (done.text, done.stored) == (None, WEATHER.replace("Rome", "<EMAIL_ADDRESS>"))


# -- properties --------------------------------------------------------------------------------------------------------

TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["a", "b", "name", "The moon.", "I look. It is red!", '"', "\\", "\\u0030", "곰이 자.", "{}", "[1]"]
    ),
    st.sampled_from([PHONE, MAIL, f"Call {PHONE}!", f"{MAIL}: yes.", "01012345678"]),
)
DOCUMENTS = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**12), 10**12),
        st.floats(allow_nan=False, allow_infinity=False),
        st.just(1012345678),
        TEXTS,
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=8,
)


def written(value, dice):
    """The value as JSON with random white space, and some of its characters escaped."""
    space = dice.choice(["", " ", "\n\t"])
    if isinstance(value, str):
        return f'"{"".join(escaped(one) if dice.random() < 0.2 else json.dumps(one)[1:-1] for one in value)}"'
    if isinstance(value, dict):
        pairs = (f"{written(key, dice)}{space}:{written(one, dice)}" for key, one in value.items())
        return f"{{{space}{f',{space}'.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{f'{space},'.join(written(one, dice) for one in value)}{space}]"
    return json.dumps(value)


def escaped(character):
    code = character.encode("utf-16-be").hex()
    return "".join(f"\\u{code[place : place + 4]}" for place in range(0, len(code), 4))


def strings(value):
    if isinstance(value, dict):
        return [text for pair in value.items() for one in pair for text in strings(one)]
    return [text for one in value for text in strings(one)] if isinstance(value, list) else [str(value)]


def shape(value):
    if isinstance(value, dict):
        return [shape(one) for one in value.values()]
    return [shape(one) for one in value] if isinstance(value, list) else isinstance(value, str)


@settings(deadline=None)
@given(DOCUMENTS, st.randoms(use_true_random=False), st.sampled_from(["general", "kids-buddy"]))
async def test_property_valid_before_valid_after_and_no_datum_in_it(value, dice, policy):
    text = written(value, dice)
    assert orjson.loads(text) == value
    line = line_of(policy)
    done = await judge(line, text)
    for told in (done.text, done.stored):
        if told is not None:
            found = orjson.loads(told)
            assert not [one for one in strings(found) if any(datum in one for datum in DATA)]
    if done.text is not None and not line.findings:
        assert done.text == text
    if done.text is not None and len(strings(orjson.loads(done.text))) == len(strings(value)):
        assert shape(orjson.loads(done.text)) == shape(value)


@settings(deadline=None)
@given(st.text(alphabet="{}[]\":,\\u0041@x. \n'tom", max_size=60), st.sampled_from(["general", "kids-buddy"]))
async def test_property_no_text_is_too_odd(text, policy):
    line = line_of(policy)
    done = await judge(line, text)
    assert done.text == text or line.findings
    assert (await judge_call(line_of(policy), f"<tool_call>{text}</tool_call>", lambda name: True)).stored
