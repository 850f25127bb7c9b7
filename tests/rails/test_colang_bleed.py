"""Five hundred checks at once, of the same texts in different sessions: no variable of one is seen by another."""

import asyncio
import random

import pytest
from colang_source import folder

from rails._colang.runner import Context, FlowFault, Runner

SESSIONS = 500
FLOWS = """
define bot call by name
  "$session.name it is, $mine.secret."

define subflow remember
  $mine = execute look_up(who=$session.name)
  do rewrite
  if $mine.secret == $session.name
    $session.seen = $session.seen + 1
    $session.of.name = $mine.secret
  execute wait(who=$session.name)

define subflow rewrite
  execute wait(who=$session.name)
  $user_message = $user_message + " " + $session.name

define subflow say it
  execute wait(who=$mine.secret)
  if $mine.secret != $session.name or $session.of.name != $session.name
    bot bleed
    stop
  bot call by name
  $last = execute look_up(who=$mine.secret)
  if $stops
    stop
  $other = $last.secret
"""


async def look_up(who, __context__session, context):
    await asyncio.sleep(random.random() / 100)
    assert who == __context__session["name"] == context["session"]["name"]
    return {"secret": who}


async def wait(who, given):
    for _ in range(random.randrange(4)):
        await asyncio.sleep(random.random() / 200)
    if who != given:
        raise ValueError(who)


async def check(runner, name):
    shared_text = "Hello, may I tell you something?"
    context = Context(
        user_message=shared_text, session={"name": name, "seen": 0}, stops=int(name.partition("-")[2]) % 3 == 0
    )
    said = []
    for flow in ("remember", "say it"):
        ran = await runner.run(flow, context, {"given": name})
        said += [one.text for one in ran.said]
    return context, said, ran.stopped


async def test_no_session_sees_anothers_variables():
    runner = Runner(folder(FLOWS), {"look_up": look_up, "wait": wait})
    names = [f"child-{number}" for number in range(SESSIONS)]
    random.shuffle(names)
    done = await asyncio.gather(*(check(runner, name) for name in names))
    for name, (context, said, stopped) in zip(names, done, strict=True):
        assert said == [f"{name} it is, {name}."]
        assert context["session"] == {"name": name, "seen": 1, "of": {"name": name}}
        assert (context["user_message"], stopped) == (f"Hello, may I tell you something? {name}", context["stops"])
        assert context.get("other") == (None if stopped else name)


async def test_a_bleed_would_be_seen():
    """The test above, where all sessions are one dict, as they must never be."""
    runner = Runner(folder(FLOWS), {"look_up": look_up, "wait": wait})
    context = Context(user_message="", session={"name": "a", "seen": 0})

    async def bled(name):
        context["session"] = {"name": name, "seen": 0}
        await runner.run("remember", context, {"given": name})

    with pytest.raises(FlowFault):
        await asyncio.gather(*(bled(f"child-{number}") for number in range(20)))
