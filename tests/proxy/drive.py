"""A text through the line and the outbox, as a stream would bring it: the driver of every law about text."""

import random

from proxy.answer import Answer, rebuild
from proxy.line import Line
from proxy.memo import Memo
from proxy.turn import Heard, Turn
from proxy.wire.collect import Collector
from proxy.wire.outbox import Outbox
from proxy.wire.skeleton import Skeleton


class Run:
    """One answer after its way through the house: the events that left, the text they bring, what the rails found."""

    def __init__(self, line, answer, events):
        self.line, self.answer, self.events = line, answer, events
        self.text = "".join(event.event["choices"][0]["delta"].get("content") or "" for event in events)
        collector = Collector()
        for event in events:
            collector.add(event.event)
        self.collected = collector.body()["choices"][0]["message"]["content"]
        self.findings = [(found.rail, found.verdict.act.value) for found in line.findings]
        self.stored = "".join(answer.stored)


async def run(policy, chunks, language="en", user="", state=None, history=()):
    """The chunks of an answer through a policy, as a backend sends them; laws of every single run are asserted."""
    turn = Turn("t1", language, user, 1000.0, state if state is not None else {})
    line = Line(policy, turn, Memo())
    if history:
        await rebuild(line, [Heard(role, text) for role, text in history])
    answer = Answer(line)
    upstream = Skeleton("up", "m")
    outbox = Outbox(Skeleton("t1", "m"))
    left = []
    events = [
        upstream.part(0, role=True, content=""),
        *(upstream.part(0, content=one) for one in chunks),
        upstream.finish(0, "stop"),
    ]
    for delta in events:
        text = outbox.hold(delta)
        left += outbox.release(await answer.feed(text) if text else ())
        if answer.ended:
            break
    left += outbox.release(await answer.finish())
    left += outbox.close(None)
    done = Run(line, answer, left)
    assert done.text == done.collected == answer.sent
    return done


async def drive(policy, text, seeds=2, **more):
    """The run of a whole text, after seeing that by character and at random it comes to the same."""
    whole = await run(policy, [text] if text else [], **_fresh(more))
    for chunks in (list(text), *(chunked(text, seed) for seed in range(seeds))):
        other = await run(policy, chunks, **_fresh(more))
        assert other.text == whole.text
        assert other.findings == whole.findings
        assert other.stored == whole.stored
        assert other.line.turn.state == whole.line.turn.state
    return whole


def chunked(text, seed):
    """The text in random pieces, the same for the same seed."""
    dice, pieces = random.Random(seed), []
    while text:
        size = dice.randint(1, 12)
        pieces.append(text[:size])
        text = text[size:]
    return pieces


def _fresh(more):
    return {**more, "state": {key: dict(value) for key, value in (more.get("state") or {}).items()}}
