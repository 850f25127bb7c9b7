"""The contract with NeMo: a table of flows means the same to our runner and to NeMo's own runtime.

Both are held to what the table says, so that a release of NeMo that changes both alike is seen as well. Not compared
is what only NeMo's path knows: its marks among the variables, and `$bot_message`, which it sets to what it says.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from colang_source import folder

from rails._colang.nemo import ActionResult, RailOutcome, RailsConfig, flow_id, flow_params
from rails._colang.runner import Context, Runner

SOURCE = Path(__file__).with_name("contract.co").read_text("utf-8")
MARKS = {"event", "config", "relevant_chunks", "relevant_chunks_sep", "retrieved_for", "skip_output_rails"}
SILENT = {"an exception"}  # stops without the intent "stop"


@dataclass(frozen=True)
class Case:
    name: str
    flows: list[str]  # run in order on one set of variables, until one stops
    given: dict[str, Any] = field(default_factory=dict)
    intents: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    stopped: bool = False
    variables: dict[str, Any] = field(default_factory=dict)  # some that must have these values at the end
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


CALLS: list[tuple[str, dict[str, Any]]] = []  # what the actions have been called with, in order


def look(text):
    CALLS.append(("look", {"text": text}))
    return {"found": "bad" in text, "kind": "rude", "length": len(text)}


async def count(items, least=0):
    CALLS.append(("count", {"items": items, "least": least}))
    return max(len(items), least)


async def soften(text):
    CALLS.append(("soften", {"text": text}))
    return ActionResult(return_value=7, context_updates={"user_message": text.replace("bad", "b**")})


async def decide(text):
    CALLS.append(("decide", {"text": text}))
    if "bad" in text:
        return RailOutcome.block(reason="bad")
    return RailOutcome.transform([("user_message", text.upper())])


async def language(__context__lang, context, written="none"):
    CALLS.append(("language", {"lang": __context__lang, "written": written, "age": context.get("age")}))
    return __context__lang


async def answer():
    CALLS.append(("answer", {}))
    return ActionResult(events=[{"type": "BotIntent", "intent": "wave"}])


async def halt():
    CALLS.append(("halt", {}))
    return ActionResult(events=[{"type": "BotIntent", "intent": "stop"}])


async def utter():
    CALLS.append(("utter", {}))
    return ActionResult(return_value="done", events=[{"type": "StartUtteranceBotAction", "script": "From an action."}])


ACTIONS = {
    "look": look, "count": count, "soften": soften, "decide": decide, "language": language, "answer": answer,
    "halt": halt, "utter_it": utter,
}  # fmt: skip

NO = "That stays between them."
REFUSED: dict[str, Any] = {"intents": ["say no", "stop"], "texts": [NO], "stopped": True}

_AB = {"a": True, "b": False, "c": "x", "list": []}
CASES = [
    Case("if in else in if", ["nested if"], _AB, ["wave"], ["One wave."], False, {"out": "deep", "after": "deep!"}),
    Case("if in if", ["nested if"], {**_AB, "b": 1, "c": None}, variables={"out": "ab", "after": "ab!"}),
    Case("len in a condition", ["nested if"], {**_AB, "c": "y", "list": [1, 2, 3]}, ["wave"], ["One wave."], False, {"out": "deep"}),
    Case("nothing in the inner ones", ["nested if"], {**_AB, "c": "y"}, variables={"out": "none", "after": "none!"}),
    Case("else of the outer", ["nested if"], {}, variables={"out": "not a"}),
    Case("chain, first", ["else if chain"], {"n": 1}, variables={"word": "one", "done": True}),
    Case("chain, second", ["else if chain"], {"n": 2}, variables={"word": "two", "done": True}),
    Case("chain, third", ["else if chain"], {"n": 12}, ["wave"], ["One wave."], False, {"word": "teen", "done": True}),
    Case("chain, else", ["else if chain"], {"n": 30}, **REFUSED),
    Case("passes", ["by language"], {"user_message": "fine", "lang": "it"}, calls=[("look", {"text": "fine"})]),
    Case("English", ["by language"], {"user_message": "bad", "lang": "en"}, **REFUSED, calls=[("look", {"text": "bad"})]),
    Case("Italian", ["by language"], {"user_message": "bad", "lang": "it"}, ["say no in italian", "stop"], ["Questo resta fra loro."], True, calls=[("look", {"text": "bad"})]),
    Case("Korean", ["by language"], {"user_message": "bad", "lang": "ko"}, ["say no in korean", "stop"], ["그건 비밀이에요."], True, calls=[("look", {"text": "bad"})]),
    Case("while, continue, break", ["counting"], {"list": [1, 2, 3, 4, 5, 6]}, variables={"i": 5, "sum": 7, "seen": 6}, calls=[("count", {"items": [1, 2, 3, 4, 5, 6], "least": 2})]),
    Case("while, never", ["counting"], {"list": []}, variables={"i": 0, "sum": 0, "seen": 2}, calls=[("count", {"items": [], "least": 2})]),
    Case("stop in a while", ["stop in a loop", "nested if"], {"user_message": "u"}, **REFUSED, variables={"i": 3}, calls=[("look", {"text": "u"})] * 3),
    Case("subflows in subflows", ["outer"], {}, ["wave"], ["One wave."], False, {"trace": "abcde"}, [("count", {"items": "ab", "least": 0})]),
    Case("subflow that returns", ["outer"], {"skip": True}, ["wave"], ["One wave."], False, {"trace": "abde"}),
    Case("subflow that stops", ["calls one that stops", "outer"], {"user_message": "bad"}, **REFUSED, calls=[("look", {"text": "bad"})]),
    Case("subflow that does not stop", ["calls one that stops"], {"user_message": "ok"}, ["wave"], ["One wave."], False, {"after": True}, [("look", {"text": "ok"})]),
    Case("subflow named by a variable", ["chosen by variable"], {"second": True}, ["wave"], ["One wave."], False, {"choice": 2}),
    Case("the other subflow", ["chosen by variable"], {}, variables={"choice": 1, "which": "first choice"}),
    Case("a rewritten message is read", ["rewrite user", "read user"], {"user_message": "hi"}, variables={"user_message": "please: hi", "seen": "please: hi"}, calls=[("look", {"text": "please: hi"})]),
    Case("a rewritten answer is read", ["rewrite bot", "read bot"], {"bot_message": "A fire!"}, variables={"bot_message": "Let us pretend.", "length": 15}),
    Case("an answer that stays", ["rewrite bot", "read bot"], {"bot_message": "A walk!"}, variables={"bot_message": "A walk!", "length": 7}),
    Case("an action that changes variables", ["action results", "read user"], {"user_message": "bad day"}, variables={"value": 7, "next": 8, "user_message": "b** day", "seen": "b** day"}, calls=[("soften", {"text": "bad day"}), ("look", {"text": "b** day"}), ("look", {"text": "b** day"})]),
    Case("an outcome that blocks", ["outcomes"], {"user_message": "bad"}, **REFUSED, calls=[("decide", {"text": "bad"})]),
    Case("an outcome that transforms", ["outcomes"], {"user_message": "good"}, variables={"user_message": "GOOD"}, calls=[("decide", {"text": "good"})]),
    Case("what a signature names", ["signature"], {"lang": "it", "age": 6}, variables={"known": "it"}, calls=[("language", {"lang": "it", "written": "it", "age": 6}), ("language", {"lang": "it", "written": "$never_set", "age": 6}), ("count", {"items": ["a", "b", "c"], "least": 2})]),
    Case("an exception stops", ["an exception", "outer"], {"user_message": "x"}, stopped=True),
    Case("an event that is awaited", ["its own event"], {"lang": "ko"}, ["wave"], ["One wave."], False, {"kind": "ko"}),
    Case("an event that is not awaited ends the flow", ["an unheard event"]),
    Case("an action that answers ends the flow", ["action answers"], {}, ["wave"], ["One wave."], calls=[("answer", {})]),
    Case("an action that stops", ["action halts", "outer"], {}, ["stop"], [], True, calls=[("halt", {})]),
    Case("an action that speaks", ["action utters"], {}, ["say no"], ["From an action.", NO], variables={"r": "done"}, calls=[("utter", {})]),
    Case("a message with variables", ["greets"], {"name": "Tom", "age": 6}, ["say hello", "wave"], ["Hello Tom, you are 7.", "One wave."], False, {"end": 1}),
    Case("a message with fields", ["kinds"], {}, ["say kind", "stop"], ["It is rude; is it, 'rude'?"], True, calls=[("look", {"text": "bad"})]),
    Case("a message with what is not set", ["unknown variable"], {}, ["say nothing known"], ["Nobody: ."]),
    Case("a variable is said", ["says a variable"], {"name": "Ada"}, ["$line", "stop"], ["Now Ada"], True, {"line": "Now Ada"}),
    Case("a parameter", ["with parameter $model=y"], {}, variables={"model": "y", "first": "y"}, calls=[("count", {"items": "x", "least": 1})]),
    Case("a parameter is set after the first look", ["with early look $model=y"], {}, variables={"model": "y", "early": False}, calls=[("count", {"items": "y", "least": 0})]),
    Case("fields and items", ["only sets"], {"given": {"list": [1, 2], "of": {"b": 4}, "one": 1}}, variables={"x": 2, "y": "a", "z": 7}),
    Case("nothing to do", ["passes at once", "ends with return"], {}, variables={"way": "returned"}),
    Case("labels", ["jumps"], {}, ["wave"], ["One wave."], False, {"i": 3}),
    Case("says twice", ["says and goes on"], {}, ["wave", "say no"], ["One wave.", NO], False, {"last": 4}, [("look", {"text": "good"})]),
]  # fmt: skip


@dataclass
class Outcome:
    variables: dict[str, Any]
    intents: list[Any] = field(default_factory=list)  # what is said, and "stop"
    texts: list[str] = field(default_factory=list)
    stopped: bool = False
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    last: str = ""  # the flow that ran last


@pytest.fixture(scope="module")
def stock():
    from nemoguardrails import LLMRails  # after ours, which makes it quiet

    rails = LLMRails(RailsConfig.from_content(colang_content=SOURCE, yaml_content="models: []"))
    for name, action in ACTIONS.items():
        rails.register_action(action, name)
    return rails


@pytest.fixture(scope="module")
def runner():
    listed = tuple(dict.fromkeys(flow for case in CASES for flow in case.flows))
    return Runner(folder(SOURCE, input=listed), ACTIONS)


async def by_nemo(stock, flows, given):
    """The flows one after the other through NeMo's runtime, as it runs rails side by side."""
    done = Outcome(dict(given))
    CALLS.clear()
    for flow in flows:
        start = {"type": "start_flow", "flow_id": flow_id(flow), "params": flow_params(flow)}
        for event in await stock.runtime.generate_events([{"type": "ContextUpdate", "data": done.variables}, start]):
            kind = event["type"]
            if kind == "ContextUpdate":
                done.variables.update(event["data"])
            elif kind == "BotIntent":
                done.intents.append(event["intent"])
                done.stopped |= event["intent"] == "stop"
            elif kind == "StartUtteranceBotAction":
                done.texts.append(event["script"])
            done.stopped |= kind.endswith("Exception")
        if done.stopped:
            break
    done.calls = list(CALLS)
    return done


async def by_us(runner, flows, given):
    context = Context(given)
    done = Outcome(context)
    messages = runner._folder.messages
    CALLS.clear()
    for flow in flows:
        ran = await runner.run(flow, context, {})
        done.intents += [said.name for said in ran.said if said.name] + ["stop"] * (ran.stopped and flow not in SILENT)
        done.texts += [messages[s.name].texts["en"][0] if s.text is None else s.text for s in ran.said]
        done.stopped, done.last = ran.stopped, ran.flow
        if ran.stopped:
            break
    done.calls = list(CALLS)
    return done


def told(outcome):
    ignored = MARKS | ({"last_bot_message", "bot_message"} if outcome.texts else set())
    variables = {name: value for name, value in outcome.variables.items() if name not in ignored}
    return (outcome.intents, outcome.texts, outcome.stopped, outcome.calls, variables)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_flow_means_the_same(case, stock, runner):
    theirs, ours = await by_nemo(stock, case.flows, case.given), await by_us(runner, case.flows, case.given)
    assert told(ours) == told(theirs)
    for outcome in (theirs, ours):
        assert (outcome.intents, outcome.texts, outcome.stopped) == (case.intents, case.texts, case.stopped)
        assert outcome.calls == case.calls
        assert {name: outcome.variables[name] for name in case.variables} == case.variables


# -- the same through the front door of NeMo ---------------------------------------------------------------------------

ASKED = [  # flows of the list, the list, the message, the verdict of `check_async`, its text, the flow
    (["by language"], "input", "bad", "blocked", "That stays between them.", "by language"),
    (["by language"], "input", "fine", "passed", "fine", None),
    (["rewrite user", "read user"], "input", "hi", "modified", "please: hi", None),
    (["rewrite user", "rewrite user"], "input", "hi", "modified", "please: please: hi", None),
    (["read user", "calls one that stops", "rewrite user"], "input", "bad", "blocked", "That stays between them.", "calls one that stops"),
    (["outcomes", "read user"], "input", "good", "modified", "GOOD", None),
    (["action results"], "input", "bad day", "modified", "b** day", None),
    (["rewrite bot", "read bot"], "output", "A fire!", "modified", "Let us pretend.", None),
    (["read bot"], "output", "A walk!", "passed", "A walk!", None),
    (["rewrite bot", "stops on pretending", "read bot"], "output", "A fire!", "blocked", "That stays between them.", "stops on pretending"),
]  # fmt: skip


@pytest.mark.parametrize(("flows", "side", "text", "status", "left", "by"), ASKED)
async def test_check_async_comes_to_the_same(flows, side, text, status, left, by, stock, runner, monkeypatch):
    monkeypatch.setattr(getattr(stock.config.rails, side), "flows", flows)
    messages = [{"role": "user", "content": text if side == "input" else "x"}]
    messages += [{"role": "assistant", "content": text}] if side == "output" else []
    from nemoguardrails.rails.llm.options import RailType

    CALLS.clear()
    result = await stock.check_async(messages, rail_types=[RailType(side)])
    calls = list(CALLS)
    assert (result.status.value, result.content, result.rail) == (status, left, by)
    variable = "user_message" if side == "input" else "bot_message"
    ours = await by_us(runner, flows, {variable: text})
    said = "".join(ours.texts) if ours.stopped else ours.variables[variable]
    ended = "blocked" if ours.stopped else "modified" if said != text else "passed"
    assert (ended, said, ours.calls) == (status, left, calls)
    assert by is None or ours.last == by
