"""judge: when a guard model is asked, about what, and what comes of its answer."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from proxy.turn import Act, BackendFault, RailFault, Segment, Verdict
from rails.judge import Rail, RailOptions

LLAMA = {"model": "guard", "format": "llama-guard", "when": "always", "user_say": "no", "say": "other"}


class Guard:
    """A `Turn.judge` that says what it is told, and remembers what it was asked."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    async def __call__(self, model, messages, settings):
        self.asked.append((model, [message["content"] for message in messages], settings))
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def no_doubt(monkeypatch):
    """What the learned model hears is not what is tried here."""
    monkeypatch.setattr("rails.judge.Sense.hear", lambda *heard, **more: None)


@pytest.fixture
def make(house):
    def build(ids=("talk", "judge"), **options):
        return Rail("judge", RailOptions(**{**LLAMA, **options}), replace(house(), ids=frozenset(ids)))

    return build


@pytest.fixture
def ask(turn):
    """`await ask(rail, guard, text, role, turn=..., **segment fields)`: one verdict."""

    async def check(rail, guard, text, role="user", **fields):
        at = fields.pop("turn", None) or turn(user="May I?")
        at.judge = guard
        return await rail.check(Segment(role, text, at, **fields))

    return check


async def test_an_unsafe_message_is_answered_by_the_house(make, ask):
    guard = Guard("unsafe\nS11")
    verdict = await ask(make(), guard, "how")
    assert (verdict.act, verdict.say, verdict.flags) == (Act.END, "no", {"review"})
    assert verdict.why == "guard calls it unsafe: suicide and self-harm"
    assert guard.asked == [("guard", ["how"], {"temperature": 0, "max_tokens": 40})]


async def test_an_unsafe_message_may_only_be_a_note(make, ask):
    verdict = await ask(make(user_say="", user_steer="care"), Guard("unsafe\nS1"), "how")
    assert (verdict.act, verdict.steer, verdict.hold) == (Act.PASS, ("care",), "message")


async def test_an_answer_is_judged_with_the_message_and_what_has_left(make, ask):
    guard = Guard("unsafe\nS9")
    verdict = await ask(make(), guard, "Then light it.", "assistant", before="Hm. Go. ", sent="Go.")
    assert (verdict.act, verdict.say) == (Act.REPLACE, "other")
    assert guard.asked[0][1] == ["May I?", "Go. Then light it."]
    assert (await ask(make(say=""), guard, "Then light it.", "assistant")).act is Act.DROP


@pytest.mark.parametrize(
    ("options", "role", "hold", "asked"),
    [
        ({}, "user", "message", 1),
        ({}, "assistant", "", 1),
        ({"hold": "sentence"}, "user", "", 1),
        ({"sides": "user", "say": ""}, "user", "", 1),
        ({"sides": "user", "say": ""}, "assistant", "", 0),
        ({"sides": "assistant", "user_say": ""}, "user", "message", 0),
        ({"sides": "assistant", "user_say": ""}, "assistant", "", 1),
        ({"when": "suspicion"}, "user", "", 0),
        ({"when": "sample", "sample": 1}, "user", "message", 1),
    ],
)
async def test_whose_texts_are_judged_and_how_much_is_held(make, ask, options, role, hold, asked):
    guard = Guard("safe")
    verdict = await ask(make(**options), guard, "hello", role)
    assert (verdict.act, verdict.hold, len(guard.asked)) == (Act.PASS, hold, asked)


FLAG, NOTE, MASK = Verdict(flags=frozenset({"review"})), Verdict(steer=("calm",)), Verdict(Act.REDACT)


@pytest.mark.parametrize(
    ("found", "key", "options", "asked"),
    [
        (FLAG, "talk", {}, 1),
        (NOTE, "talk", {}, 1),
        (FLAG, "talk:shadow", {}, 1),
        (Verdict(Act.END, say="x"), "talk:shadow", {}, 1),
        (MASK, "talk", {}, 0),
        (Verdict(), "talk", {}, 0),
        (FLAG, "talk", {"suspects": ["other"]}, 0),
        (FLAG, "other", {"suspects": ["other"]}, 1),
        (FLAG, "judge", {}, 0),
        # decided: nobody waits for a second opinion
        (Verdict(Act.END, say="x", flags=frozenset({"review", "alert"})), "talk", {}, 0),
        (Verdict(Act.END, say="x"), "talk", {"when": "always"}, 0),
        (Verdict(Act.DROP), "talk", {"when": "always"}, 0),
        (MASK, "talk", {"when": "always"}, 1),
    ],
)
@pytest.mark.parametrize("role", ["user", "assistant"])
async def test_what_the_rails_before_it_found(make, ask, turn, role, found, key, options, asked):
    at, guard = turn(), Guard("safe")
    at.memo[Segment(role, "hm", at).asked(key)] = found
    await ask(make(("talk", "other", "judge"), **{"when": "suspicion", **options}), guard, "hm", role, turn=at)
    assert len(guard.asked) == asked


async def test_the_answer_to_a_suspect_message_is_judged_too(make, ask, turn):
    at, guard, rail = turn(), Guard("safe"), make(when="suspicion")
    assert not (await ask(rail, guard, "hello", turn=at)).hold
    await ask(rail, guard, "Yes.", "assistant", turn=at)
    assert guard.asked == []
    at.memo[Segment("user", "hm", at).asked("talk")] = FLAG
    assert (await ask(rail, guard, "hm", turn=at)).hold == "message"
    await ask(rail, guard, "Yes.", "assistant", turn=at)
    assert len(guard.asked) == 2


async def test_a_doubt_of_the_learned_model_is_a_suspicion(make, ask):
    guard, rail = Guard("safe"), make(when="suspicion")
    heard = []

    def hear(segment, hinted):
        heard.append((segment.text, hinted))
        return SimpleNamespace(kind="care", score=0.4)

    rail._sense = SimpleNamespace(hear=hear)
    await ask(rail, guard, "hm")
    assert (heard, len(guard.asked)) == ([("hm", True)], 1)


async def test_a_sample_is_drawn_by_the_turn(make, ask, turn):
    rail, guard = make(when="sample", sample=0.2), Guard("safe")
    drawn = []
    for number in range(1000):
        before = len(guard.asked)
        for text in ("a", "b"):
            await ask(rail, guard, f"{text} {number}", turn=turn(id=f"t{number}"))
        drawn.append(len(guard.asked) - before)
    assert set(drawn) == {0, 2}  # all of a turn, or nothing
    assert 150 < drawn.count(2) < 250


@pytest.mark.parametrize("fields", [{"past": True}, {"text": "  \n"}, {"trial": True}])
async def test_what_is_not_judged(make, ask, turn, fields):
    guard = Guard("unsafe")
    at = turn(trial=fields.pop("trial", False))
    assert await ask(make(), guard, **{"text": "hm", "turn": at, **fields}) == Verdict()
    assert guard.asked == []


@pytest.mark.parametrize(
    ("options", "said", "unsafe"),
    [
        ({"categories": ["S11"]}, "unsafe\nS1", False),
        ({"categories": ["S11"]}, "unsafe\nS1,S11", True),
        ({"categories": ["S11"]}, "unsafe", True),  # it names none: none of them can be left out
        ({"format": "qwen3guard"}, "Safety: Controversial\nCategories: Violent", False),
        ({"format": "qwen3guard", "controversial": True}, "Safety: Controversial\nCategories: Violent", True),
        (
            {"format": "qwen3guard", "controversial": True, "categories": ["PII"]},
            "Safety: Controversial\nCategories: Violent",
            False,
        ),
    ],
)
async def test_what_counts(make, ask, options, said, unsafe):
    assert ((await ask(make(**options), Guard(said), "how")).act is Act.END) == unsafe


async def test_granite_is_asked_for_one_category_after_the_other(make, ask):
    rail = make(format="granite-guardian", categories=["jailbreak", "violence", "harm"])
    guard = Guard("<score>no</score>", "<score>yes</score>")
    verdict = await ask(rail, guard, "how")
    assert [settings["chat_template_kwargs"]["guardian_config"]["risk_name"] for *_, settings in guard.asked] == [
        "jailbreak",
        "violence",
    ]
    assert verdict.why.startswith("guard calls it unsafe: The text encourages or praises violence")


async def test_the_same_text_is_asked_once_within_its_time(make, ask, turn):
    rail, guard = make(cache_for="60s"), Guard("unsafe\nS1", "safe")
    for now, act in ((100, Act.END), (159, Act.END), (160, Act.PASS)):
        assert (await ask(rail, guard, "how", turn=turn(now=now))).act is act
    await ask(rail, guard, "how ", turn=turn(now=160))
    await ask(rail, guard, "how", "assistant", turn=turn(now=160, user="how"))
    assert len(guard.asked) == 4
    assert not any(b"how" in key for key in rail._kept._found)


async def test_what_is_kept_is_bounded(make, ask, turn, monkeypatch):
    monkeypatch.setattr("rails.judge._KEPT", 2)
    rail, guard = make(), Guard("safe")
    for text in ("a", "b", "a", "c", "a", "b"):
        await ask(rail, guard, text, turn=turn(now=1))
    assert [content for _, (content,), _ in guard.asked] == ["a", "b", "c", "b"]


@pytest.mark.parametrize(
    ("guard", "words"),
    [
        (None, "there is no model server that could be asked"),
        (Guard(BackendFault(502, "May I? was too long")), r"the model `guard` could not be asked \(502\)"),
        (Guard("Hello!"), "what the judge answered is nothing that Llama Guard says"),
    ],
)
async def test_a_judge_that_cannot_judge_is_a_fault(make, ask, guard, words):
    rail = make()
    with pytest.raises(RailFault, match=f"^{words}$"):
        await ask(rail, guard, "how")
    assert (await ask(rail, Guard("safe"), "how")).act is Act.PASS  # a fault is not kept


async def test_whoever_stops_waiting_is_not_held_up(make, ask):
    async def never(*asked):
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await ask(make(), never, "how")


WRONG = [
    ({"format": "question", "user_steer": ""}, "needs the `question`"),
    ({"question": "Is it?"}, "asks its own question"),
    ({"categories": ["S99"]}, "has no category `S99`"),
    ({"format": "qwen3guard", "categories": ["Violence"]}, "did you mean `Violent`?"),
    ({"user_steer": "care"}, "either `user_say` or `user_steer`"),
    ({"user_say": ""}, "either `user_say` or `user_steer`"),
    ({"sides": "assistant"}, "leaves out does nothing"),
    ({"sides": "user"}, "leaves out does nothing"),
    ({"when": "sample"}, "needs the `sample`"),
    ({"sample": 2}, "less than or equal to 1"),
    ({"deadline": "0s"}, "greater than 0"),
    ({"model": ""}, "at least 1 character"),
    ({"format": "llamaguard"}, "'llama-guard'"),
]


@pytest.mark.parametrize(("options", "words"), WRONG)
def test_options_are_checked(options, words):
    with pytest.raises(ValidationError, match=words):
        RailOptions(**{**LLAMA, **options})


def test_a_suspect_is_another_rail(make):
    with pytest.raises(ValueError, match=r"no other rail `tak`; did you mean `talk`\?"):
        make(suspects=["tak"])
