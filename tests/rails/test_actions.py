"""The actions find what the rails find, once a turn, and a call that cannot work is a fault at its line."""

from dataclasses import replace

import pytest

from proxy.turn import Act, Segment, Span, Verdict
from rails._colang.actions import Actions, Effects
from rails._colang.folder import Flow, Place
from rails._colang.nemo import parse_colang_file
from rails.stop import Rail as Stop
from rails.stop import RailOptions as StopOptions

SECRETS = {"en": ["her secret"], "it": ["il suo segreto"], "ko": ["비밀"], "but_not": {"en": ["her secret garden"]}}
STOP = {"en": ["stop it"], "it": ["basta"], "ko": ["그만"]}
SLEEP = {"en": ["good night"], "it": ["ho sonno"], "ko": ["졸려"]}


class Told:
    """A rail that finds a datum in every text that holds a digit, and counts how often it is asked."""

    key = "hide-private"

    def __init__(self):
        self.asked = []

    async def check(self, segment):
        self.asked.append(segment)
        found = [Span(at, at + 1, "AGE") for at, letter in enumerate(segment.text) if letter.isdigit()]
        return Verdict(Act.REDACT, (*found, Span(0, 1, "PERSON"))) if found else Verdict()


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def actions(house, told):
    built = house(secrets=SECRETS, stop=STOP, sleep=SLEEP, goodbye={"en": ["bye bye"]}, again={"en": ["go on"]})
    options = StopOptions(
        stop="stop", sleep="sleep", goodbye="goodbye", starts_again="again",
        say_stop="a", say_sleep="b", say_goodbye="c", steer="d",
    )  # fmt: skip
    rails = {"pii": told, "stop": Stop("stop", options, built)}
    return Actions(replace(built, rails=rails, notes=frozenset({"calm", "bedtime"})))


@pytest.fixture
def segment(turn):
    return lambda text, role="user", **fields: Segment(role, text, fields.pop("turn", None) or turn(), **fields)


@pytest.mark.parametrize(
    ("role", "before", "text", "found"),
    [
        ("user", "", "tell me her secret", True),
        ("user", "", "we read Her Secret Garden", False),
        ("user", "", "dimmi il suo segreto", True),
        ("tool", "", "지우 비밀이 뭐야", True),
        ("user", "", "오늘 뭐 했어", False),
        ("user", "tell me her\n", "secret please", True),
        ("assistant", "Do you know her ", "secret? ", True),
        ("assistant", "Her secret is safe. ", "Let us play. ", False),
    ],
)
def test_phrases(actions, segment, role, before, text, found):
    assert actions.phrases("secrets", text, segment(text, role, before=before)) == {"found": found}


def test_a_phrase_that_goes_on_behind_the_piece_counts_in_it(actions, segment):
    assert actions.phrases("secrets", "I know her ", segment("I know her ", "assistant", after="secret "))["found"]


def test_another_text_than_the_segment_stands_alone(actions, segment):
    """What was sent before the message belongs to the message."""
    seen = segment("secret please", before="tell me her\n")
    assert actions.phrases("secrets", "secret", seen) == {"found": False}
    assert actions.phrases("secrets", "her secret", seen) == {"found": True}


@pytest.mark.parametrize(
    ("text", "found", "kind"),
    [
        ("stop it", True, "stop"),
        ("ho sonno", True, "sleep"),
        ("그만 할래", True, "stop"),
        ("bye bye", True, "goodbye"),
        ("let us play", False, ""),
    ],
)
@pytest.mark.parametrize("role", ["user", "tool", "assistant"])
@pytest.mark.parametrize("own", [True, False])
async def test_stop_intent(actions, segment, text, found, kind, role, own):
    """It is asked as of something that the user says, wherever the text stands."""
    seen = segment(text if own else "Sure! ", role)
    assert await actions.stop_intent(text, seen) == {"found": found, "kind": kind}


@pytest.mark.parametrize(
    ("text", "entities", "found"),
    [
        ("I am 7", None, ["AGE", "PERSON"]),
        ("ho 7 anni", ["AGE", "SCHOOL"], ["AGE"]),
        ("7살이야", ["SCHOOL"], []),
        ("hello", None, []),
    ],
)
async def test_pii(actions, segment, text, entities, found):
    assert await actions.pii(text, segment(text), entities) == {"found": bool(found), "entities": found}


async def test_a_text_is_looked_at_once_a_turn(actions, told, segment, turn):
    same = turn()
    for _ in range(3):
        await actions.pii("I am 7", segment("I am 7", turn=same), ["AGE"])
        await actions.pii("I am 7", segment("I am 7", turn=same))
    assert len(told.asked) == 1
    await actions.pii("I am 7", segment("I am 7", "assistant", turn=same))
    await actions.pii("I am 7", segment("I am 7"))
    assert [one.role for one in told.asked] == ["user", "assistant", "user"]


async def test_what_the_line_has_asked_is_not_asked_again(actions, told, segment):
    seen = segment("I am 7", before="hi ")
    seen.turn.memo[seen.asked("hide-private")] = Verdict(spans=(Span(0, 1, "SCHOOL"),))
    assert await actions.pii("I am 7", seen) == {"found": True, "entities": ["SCHOOL"]}
    assert told.asked == []


async def test_the_segment_is_judged_with_what_stands_around_it(actions, told, segment):
    seen = segment("7", before="I am ")
    await actions.pii("7", seen)
    await actions.pii("8", seen)
    assert [one.before for one in told.asked] == ["I am ", ""]


@pytest.mark.parametrize(("text", "found"), [("Why?", True), ("Dove sei?", True), ("뭐 해?", True), ("Ja.", False)])
def test_question(actions, text, found):
    assert actions.question(text) == {"found": found}


def test_what_flows_ask_of_the_house(actions):
    effects = Effects()
    assert effects.count == 0
    actions.note("calm", effects)
    actions.hold_whole(effects)
    actions.flag(effects)
    actions.flag(effects, "alert")
    assert effects == Effects(["calm"], "message", {"review", "alert"})
    assert effects.count == 4


# -- at load -----------------------------------------------------------------------------------------------------------


def flows(*calls):
    lines = ["define subflow house rule", *(f"  {call}" for call in calls)]
    (flow,) = parse_colang_file("x.co", "\n".join(lines), include_source_mapping=True)["flows"]
    return {"house rule": Flow("house rule", "", Place("flows/x.co", 1), flow["elements"][1:], True)}


GOOD = [
    'execute phrases(list="secrets", text=$user_message)',
    'execute note(key="calm")',
    "execute hold_whole",
    "execute flag",
    'execute flag(name="alert")',
    'execute pii(text=$user_message, entities=["AGE"])',
    "execute stop_intent(text=$last_user_message)",
    "execute something_of_their_own(x=3)",
]
FAULTS = [
    ('execute phrases(list="secret", text="x")', "`list=secret` names no list", "did you mean `secrets`?"),
    ('execute phrases(list="zoo", text="x")', "`list=zoo` names no list", "write the name itself"),
    ('execute phrases(list=$session.list, text="x")', "`list=$session.list` names no list", "write the name itself"),
    ('execute phrases(list="secrets")', "`phrases` needs `text=...`", ""),
    ('execute phrases("secrets", $user_message)', "`phrases` has no parameter `$1`", "it takes list, text"),
    ('execute note(key="clam")', "`key=clam` names no note", "did you mean `calm`?"),
    ('execute note(keys="calm")', "`note` has no parameter `keys`", "did you mean `key`?"),
    ('execute flag(name="later")', "`name=later` names no flag", ""),
    ("execute hold_whole(segment=3)", "`hold_whole` has no parameter `segment`", "it takes none"),
]


def test_calls_that_work_are_no_fault(actions):
    assert list(actions.misnamed(flows(*GOOD))) == []
    assert list(actions.unasked(flows(*GOOD))) == []


@pytest.mark.parametrize(("call", "message", "hint"), FAULTS)
def test_calls_that_cannot_work(actions, call, message, hint):
    found, *_ = actions.misnamed(flows("bot stay", call))
    assert (found.file, found.line, found.snippet) == ("flows/x.co", 3, call)
    assert found.message.startswith(message)
    assert found.hint.startswith(hint)


def test_a_detector_needs_its_rail(house):
    alone = Actions(house(secrets=SECRETS))
    found = list(alone.unasked(flows(*GOOD)))
    assert [(one.line, one.message) for one in found] == [
        (7, "`pii` asks the policy's `pii` rail, and none is enforced"),
        (8, "`stop_intent` asks the policy's `stop` rail, and none is enforced"),
    ]
