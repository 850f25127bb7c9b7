"""The runner beside what the contract with NeMo holds it to: messages, fields, faults, bounds, privacy."""

import asyncio
import gc
import threading
import tracemalloc

import pytest
from colang_source import folder

from proxy.turn import Heard, PolicyError
from rails._colang.context import Conversation
from rails._colang.nemo import ActionResult, RailOutcome, RailsConfig
from rails._colang.runner import Context, FlowFault, Runner

SECRET = "the words of a child"
FLOWS = """
define bot greet
  "Hello $name of {{ session.town }}!"
  "Hi $name."
define bot greet (it)
  "Ciao $name!"
define bot fixed
  "Nothing to fill in."
define bot broken
  "{{ name + 1 }}"

define subflow says
  bot fixed
  bot greet
  bot "Literally $name"
  $user_message = $user_message + "!"

define subflow says policy line
  bot good night
  stop

define subflow rewrites
  $user_message = "1" + $user_message
  if $name == "Tom"
    $user_message = "2" + $user_message
  $x = 1

define subflow rewrites by action
  $x = 1
  $user_message = execute shout(text=$user_message)
  $x = 2

define subflow does nothing
  $x = 1

define subflow asks the house
  execute flag(name="review")
  execute shout(text="x")
  if $name == "Tom"
    execute flag(name="alert")
  if $name == "Ada"
    $user_message = "mended"
  $x = 1

define subflow remembers
  $session.asked = True
  $session.count = $session.count + 1
  $session.of.tom = execute shout(text=$name)
  execute note(key=$session.asked)

define subflow without end
  $x = 1
  while $x
    $x = $x + 1

define subflow two hundred steps
  while True
    execute shout(text="x")

define subflow unknown action
  execute nobody_knows(text=$user_message)

define subflow action raises
  do does nothing
  do the raising one

define subflow the raising one
  $x = execute fails(text=$user_message)

define subflow cannot compute
  $x = $list[$user_message]

define subflow wrong field
  $user_message.x = 1

define subflow wrong parameter
  execute shout(words=$user_message)

define subflow says what is not set
  bot $nothing

define subflow says broken
  bot broken

define subflow chooses
  do $which

define subflow asks
  $outcome = execute outcome

define subflow gets
  execute shows(written=$name, given="written")
  execute shows_class(x=3)
  execute spoils(list=["a"], map={"b": "c"})
  execute spoils(list=["a"], map={"b": "c"})
"""
PLACES = {line.strip(): f"house.co:{n}" for n, line in enumerate(FLOWS.splitlines(), start=1)}


def shout(text):
    return text.upper()


async def fails(text):
    raise ValueError(text)


async def outcome():
    return RailOutcome.failure(reason=SECRET)


SEEN = []


def shows(written, given, context, config, __context__name, default=5):
    context["name"] = "spoilt"
    SEEN.append((written, given, config.models, __context__name, default, threading.current_thread().name))


class Shows:
    async def run(self, x):
        SEEN.append(x)


def spoils(list, map):
    SEEN.append((list.copy(), dict(map)))
    list.append("more")
    map.clear()


def flag(name, effects):
    SEEN.append(name)


ACTIONS = {
    "flag": flag,
    "shout": shout, "fails": fails, "outcome": outcome, "shows": shows, "shows_class": Shows, "spoils": spoils,
    "note": lambda key: SEEN.append(key),
}  # fmt: skip


@pytest.fixture(scope="module")
def runner():
    return Runner(folder(FLOWS), ACTIONS)


@pytest.fixture(autouse=True)
def nothing_seen():
    SEEN.clear()


def words(**more):
    return Context({"user_message": SECRET, "name": "Tom", **more})


# -- what is said, and where -------------------------------------------------------------------------------------------


async def test_what_is_said(runner):
    ran = await runner.run("says", words(session={"town": "Rome"}), {})
    assert [(said.name, said.text, str(said.place)) for said in ran.said] == [
        ("fixed", None, PLACES["bot fixed"]),
        ("greet", "Hello Tom of Rome!", PLACES["bot greet"]),
        ("", "Literally Tom", PLACES['bot "Literally $name"']),
    ]
    assert (ran.flow, ran.stopped, str(ran.place)) == ("says", False, PLACES['bot "Literally $name"'])


@pytest.mark.parametrize(
    ("lang", "nth", "text"),
    [
        ("en", 0, "Hello Tom of Rome!"),
        ("en", 1, "Hi Tom."),
        ("en", 2, "Hello Tom of Rome!"),
        ("it", 1, "Ciao Tom!"),
        ("ko", 1, "Hi Tom."),  # not written: the policy's first language
    ],
)
async def test_a_message_with_variables_has_languages_and_variants(runner, lang, nth, text):
    context = words(session={"town": "Rome"})
    context.language, context.nth = lang, nth
    assert (await runner.run("says", context, {})).said[1].text == text


async def test_a_line_of_the_policy_goes_by_its_name(runner):
    ran = await runner.run("says policy line", words(), {})
    assert [(said.name, said.text) for said in ran.said] == [("good night", None)]
    assert (ran.stopped, str(ran.place)) == (True, PLACES["stop"])


@pytest.mark.parametrize(
    ("flow", "name", "place", "text"),
    [
        ("rewrites", "Tom", '$user_message = "2" + $user_message', "21" + SECRET),
        ("rewrites", "Ada", '$user_message = "1" + $user_message', "1" + SECRET),
        ("rewrites by action", "Tom", "$user_message = execute shout(text=$user_message)", SECRET.upper()),
        ("does nothing", "Tom", "define subflow does nothing", SECRET),
        ("asks the house", "Bo", 'execute flag(name="review")', SECRET),
        ("asks the house", "Tom", 'execute flag(name="alert")', SECRET),
        ("asks the house", "Ada", '$user_message = "mended"', "mended"),
    ],
)
async def test_the_place_of_what_decided(runner, flow, name, place, text):
    context = words(name=name)
    ran = await runner.run(flow, context, {"effects": None})
    assert (context["user_message"], str(ran.place), ran.said, ran.stopped) == (text, PLACES[place], [], False)


async def test_a_place_is_not_kept_for_the_next_flow(runner):
    context = words()
    await runner.run("rewrites", context, {})
    assert str((await runner.run("does nothing", context, {})).place) == PLACES["define subflow does nothing"]


# -- fields ------------------------------------------------------------------------------------------------------------


async def test_a_field_is_set_in_a_copy(runner):
    session = {"count": 1, "of": {"ada": "x"}}
    context = words(session=session)
    await runner.run("remembers", context, {})
    assert context["session"] == {"count": 2, "of": {"ada": "x", "tom": "TOM"}, "asked": True}
    assert session == {"count": 1, "of": {"ada": "x"}}
    assert SEEN == [True]


async def test_a_field_of_nothing_makes_it(runner):
    context = Context()
    context.update({"new.field.deep": 1})
    assert context == {"new": {"field": {"deep": 1}}}


# -- actions -----------------------------------------------------------------------------------------------------------


async def test_an_action_gets_what_it_names(runner):
    context = words()
    await runner.run("gets", context, {"given": "of the check", "effects": "nobody names it"})
    main = threading.main_thread().name
    assert context["name"] == "Tom"  # what it does to the variables that it gets is lost
    assert [("Tom", "of the check", [], "Tom", 5, main), 3, (["a"], {"b": "c"}), (["a"], {"b": "c"})] == SEEN


async def test_the_policys_own_slow_functions_hold_nobody_up():
    own = Runner(folder(FLOWS, functions={"shows": shows, "spoils": spoils}), ACTIONS)
    await own.run("gets", words(), {"given": 1})
    assert SEEN[0][-1] != threading.main_thread().name


async def test_an_intent_in_front_of_a_stop_is_not_said():
    events = [{"type": "BotIntent", "intent": "greet"}, {"type": "BotIntent", "intent": "stop"}]
    quick = Runner(
        folder("define subflow x\n  execute ends\n  bot more"), {"ends": lambda: ActionResult(events=events)}
    )
    ran = await quick.run("x", Context(), {})
    assert (ran.said, ran.stopped) == ([], True)


async def test_the_configuration_is_a_variable():
    flow = "define subflow x\n  if $config.models\n    stop\n  $name = $config.colang_version"
    context = Context()
    await Runner(folder(flow, config=RailsConfig(models=[], colang_version="1.0")), {}).run("x", context, {})
    assert context["name"] == "1.0"


# -- faults ------------------------------------------------------------------------------------------------------------

FAULTS = [  # the flow, the flow and the line that the fault names, what it says
    ("unknown action", "", "execute nobody_knows(text=$user_message)", "there is no action `nobody_knows`"),
    ("action raises", "the raising one", "$x = execute fails(text=$user_message)", "action `fails` failed (ValueError)"),
    ("asks", "", "$outcome = execute outcome", "action `outcome` says that it has failed"),
    ("cannot compute", "", "$x = $list[$user_message]", "`$list[$user_message]` cannot be computed"),
    ("wrong field", "", "define subflow wrong field", "`$user_message.x` cannot be set: what stands before the last point has no fields"),
    ("wrong parameter", "", "execute shout(words=$user_message)", "action `shout` failed (TypeError)"),
    ("says what is not set", "", "bot $nothing", "it is to say `$nothing`, which has not been set"),
    ("says broken", "", "bot broken", "its message cannot be filled in (TypeError)"),
    ("chooses", "", "define subflow chooses", "it cannot go on (TypeError)"),
    ("without end", "", "define subflow without end", "it never ends: it has read and set variables thousands of times"),
    ("two hundred steps", "", "define subflow two hundred steps", "it has taken 200 steps and would go on"),
]  # fmt: skip


@pytest.mark.parametrize(("flow", "inner", "line", "what"), FAULTS, ids=[fault[0] for fault in FAULTS])
async def test_a_fault_names_the_flow_and_the_line_and_no_text(runner, flow, inner, line, what):
    with pytest.raises(FlowFault) as caught:
        await runner.run(flow, words(list={"x": 1}), {})
    assert str(caught.value) == f"flow `{inner or flow}` ({PLACES[line]}): {what}"
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


async def test_the_runner_goes_on_after_a_fault(runner):
    context = words()
    with pytest.raises(FlowFault):
        await runner.run("without end", context, {})
    assert (await runner.run("says policy line", context, {})).stopped


async def test_an_action_that_is_cancelled_is_cancelled(runner):
    waits = Runner(folder("define subflow x\n  execute wait"), {"wait": lambda: asyncio.sleep(60)})
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(waits.run("x", Context(), {}), 0.01)


def test_a_message_that_is_no_template_is_refused():
    with pytest.raises(PolicyError) as caught:
        Runner(folder('define bot x\n  "Hello {{ name"\ndefine subflow y\n  bot x'), {})
    [fault] = caught.value.faults
    assert (fault.file, "cannot be filled in" in fault.message) == ("house.co", True)


# -- nothing is kept ---------------------------------------------------------------------------------------------------


async def test_what_was_read_is_not_written_into(runner):
    made = folder(FLOWS)
    before = str(made.flows)
    both = Runner(made, ACTIONS)
    for flow in ("says", "rewrites", "gets"):
        await both.run(flow, words(session={"town": "Rome"}), {"given": 1})
    assert str(made.flows) == before


async def test_ten_thousand_runs_leave_nothing(runner):
    async def check(flow):
        await runner.run(flow, words(session={"count": 0}, town="x"), {"given": 1})

    flows = ["rewrites", "remembers", "says policy line", "does nothing"]
    for _ in range(100):
        for flow in flows:
            await check(flow)
    SEEN.clear()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(2500):
            for flow in flows:
                await check(flow)
            SEEN.clear()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 200_000


# -- the conversation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("len($history)", 3),
        ("$history[0].text", "a"),
        ('$history[-1]["role"]', "user"),
        ("$history[1:][0].text", "b"),
        ("len($history[-2:])", 2),
        ("True if $history else False", True),
    ],
)
async def test_a_flow_reads_the_conversation(expression, value):
    heard = [Heard("user", "a"), Heard("assistant", "b"), Heard("user", "c")]
    context = Context(history=Conversation(heard))
    await Runner(folder(f"define subflow x\n  $found = {expression}"), {}).run("x", context, {})
    assert context["found"] == value
