"""A guard model through the whole house, on real sockets: what it reads, what it holds back, what happens without it."""

import asyncio
import shutil
from contextlib import asynccontextmanager

import pytest
from fake_upstream import VLLM, chunk, refuses, upstream
from house import house, text_of
from typer.testing import CliRunner

from proxy.cli import app
from proxy.config import SHIPPED_POLICIES, BackendEntry, ConfigFault, load_config
from proxy.policy.load import load_policy
from proxy.serve import serve

POLICY = """
policy: guarded
version: 1
about: A guard model behind cheap rails.
audience: adult
languages: [en]
late_after: 1s
say:
  sorry: {en: Sorry.}
  fallback: {en: Mm.}
  better_not: {en: Better not.}
  other: {en: "Something else, then."}
steer:
  care: {en: BE CAREFUL}
phrases:
  sharp: {en: [knife, blade]}
rails:
  - {id: hide, rail: pii, why: No data., entities: [EMAIL_ADDRESS], regions: [GB], recognizers: '', mode: "off"}
  - {id: sharp, rail: phrases, why: Sharp things., user_says: sharp, user_steer: care, assistant_says: sharp}
  - {id: guard, rail: judge, why: A second opinion., model: guard, format: llama-guard, user_say: better_not,
     say: other, MORE}
"""
NO_LIST = {"/v1/models": (200, b'{"object":"list","data":[]}')}


@pytest.fixture(autouse=True)
def no_doubt(monkeypatch):
    """What the learned model hears is not what is tried here."""
    monkeypatch.setattr("rails.judge.Sense.hear", lambda *heard, **more: None)


@pytest.fixture
def guarded(tmp_path):
    """`guarded("when: always", ...)`: the policy with these options of its judge."""

    def load(*options):
        path = tmp_path / "guarded.yaml"
        path.write_text(POLICY.replace("MORE", ", ".join(options) or "when: suspicion"))
        return load_policy(path)

    return load


def streams(text):
    async def answer(wire):
        await wire.head()
        await wire.events(chunk(""), *map(chunk, text.split("|")), chunk("", "stop"), "[DONE]")
        await wire.end()

    return answer


async def guard(wire):
    """Judges as Llama Guard does, the last message alone."""
    unsafe = "cut him" in wire.asked.body["messages"][-1]["content"]
    await streams("\n\n|unsafe|\nS1" if unsafe else "\n\n|safe")(wire)


@asynccontextmanager
async def servers(policy, says, judge=guard):
    """A house between two servers, the app's model and the guard; with what the guard was asked, message by message."""
    async with upstream(streams(says), VLLM | NO_LIST) as model, upstream(judge, VLLM | NO_LIST) as second:
        entries = [{"url": model.url, "models": ["buddy"]}, {"url": second.url, "models": ["guard"]}]
        async with house(policy=policy, backends=[BackendEntry.model_validate(entry) for entry in entries]) as home:
            yield home, model, lambda: [[m["content"] for m in asked.body["messages"]] for asked in second.chats]


async def test_without_a_suspicion_nobody_is_asked(guarded):
    async with servers(guarded(), "It is| a tree. |It grows.") as (home, _, asked):
        assert await home.say("What is an oak?") == "It is a tree. It grows."
        assert asked() == []


@pytest.mark.parametrize("stream", [True, False])
async def test_a_suspect_message_is_judged_and_its_answer_is_held_whole(guarded, stream):
    async with servers(guarded(), "Take it. |Then cut| him. |Good.") as (home, _, asked):
        question = "I have a knife, what now?"
        said = text_of(await home.stream(question)) if stream else await home.say(question)
        assert said == "Something else, then."
        assert asked() == [[question], [question, "Take it. Then cut him. Good."]]
        (entry,) = await home.audit()
        verdicts = [(one["rail"], one["act"], one["flags"]) for one in entry.closed["verdicts"]]
        assert verdicts == [("sharp", "pass", []), ("guard", "replace", ["review"])]
        assert entry.closed["verdicts"][1]["why"] == "guard calls it unsafe: violent crimes"


async def test_an_unsafe_message_never_reaches_the_model(guarded):
    async with servers(guarded(), "Well.") as (home, model, asked):
        assert await home.say("May I cut him with a knife?") == "Better not."
        assert len(asked()) == 1
        assert model.chats == []


async def test_the_guard_reads_no_private_data(guarded):
    async with servers(guarded("when: always"), "Write to bo@example.com.") as (home, _, asked):
        await home.say("I am at ann@example.com")
        assert asked() == [
            ["I am at <EMAIL_ADDRESS>"],
            ["I am at <EMAIL_ADDRESS>", "Write to <EMAIL_ADDRESS>."],
        ]


async def test_sentence_by_sentence_with_what_has_left(guarded):
    async with servers(guarded("when: always", "hold: sentence"), "Take it. |Then cut| him. |Good.") as (
        home,
        _,
        asked,
    ):
        assert text_of(await home.stream("What now?")) == "Take it. Something else, then. Good."
        judged = [messages[-1] for messages in asked()[1:]]
        assert judged == ["Take it.", "Take it. Then cut him.", "Take it. Something else, then. Good."]


async def never(wire):
    await wire.until_client_leaves()


BROKEN = [(never, "late"), (refuses(500, b"{}"), "RailFault"), (streams("I would say so."), "RailFault")]


@pytest.mark.parametrize(("judge", "how"), BROKEN)
@pytest.mark.parametrize(("when_broken", "said"), [("closed", "Sorry."), ("open", "A tree.")])
async def test_a_guard_that_fails_is_what_its_rail_says(guarded, judge, how, when_broken, said):
    policy = guarded("when: always", f"when_broken: {when_broken}", "deadline: 200ms")
    async with servers(policy, "A tree.", judge) as (home, _, asked):
        async with asyncio.timeout(5):
            assert await home.say("What is an oak?") == said
        (entry,) = await home.audit()
        broken = {(one["rail"], tuple(one["flags"])) for one in entry.closed["verdicts"]}
        assert broken == {("guard", ("review",))}
        metrics = (await home.client.get("/metrics")).text
        assert f'kindrail_broken_rails_total{{how="{how}",policy="guarded@1",rail="guard"}}' in metrics
        assert asked()


async def test_a_deadline_may_be_longer_than_other_rails_have(guarded):
    async def slow(wire):
        await asyncio.sleep(1.2)  # late_after is 1s
        await guard(wire)

    async with servers(guarded("when: always", "deadline: 5s"), "Well.", slow) as (home, *_):
        assert await home.say("May I cut him?") == "Better not."


async def test_a_client_that_goes_takes_the_question_with_it(guarded):
    left = asyncio.Event()

    async def waits(wire):
        await wire.until_client_leaves()
        left.set()

    async with servers(guarded("when: always", "deadline: 30s"), "Well.", waits) as (home, _, asked):
        gone = asyncio.create_task(home.ask("hello"))
        while not asked():
            await asyncio.sleep(0.01)
        gone.cancel()
        async with asyncio.timeout(5):
            await left.wait()


CHILD = """
policy: watched
version: 1
about: A guard model behind the buddy's rails.
extends: kids-buddy
audience: child
rails:
  - {id: guard, rail: judge, why: A second opinion., model: guard, format: llama-guard, user_say: sorry}
"""
CONFIG = """
policy: watched
safeguarding_webhook: http://127.0.0.1:9/
keys: [{id: app, hash: "sha256:%s"}]
backends:
  - {url: "http://127.0.0.1:9", models: [buddy]}
  - {url: "http://127.0.0.1:9", %s}
"""


def test_children_are_judged_only_where_the_operator_says_so(tmp_path, monkeypatch):
    shutil.copytree(SHIPPED_POLICIES, tmp_path / "policies")
    (tmp_path / "policies" / "watched.yaml").write_text(CHILD)
    monkeypatch.setenv("KINDRAIL_POLICIES", str(tmp_path / "policies"))
    for served, code in (("weight: 1", 1), ("models: [guard]", 0)):
        (tmp_path / "kindrail.yaml").write_text(CONFIG % ("0" * 64, served))
        result = CliRunner().invoke(app, ["check", "watched", "--config", str(tmp_path / "kindrail.yaml")])
        assert result.exit_code == code, result.output
        fault = "`watched` lets `guard` judge what children say: write that name under `models` of the one of the"
        assert (fault in result.output) == (code == 1)
    config = load_config(tmp_path / "kindrail.yaml")
    policy = load_policy(tmp_path / "policies" / "watched.yaml")
    monkeypatch.setattr("proxy.serve.prove", lambda path, code: policy)
    elsewhere = config.model_copy(update={"backends": config.backends[:1]})
    with pytest.raises(ConfigFault, match="lets `guard` judge what children say"):
        serve(elsewhere)
