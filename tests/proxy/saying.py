"""A policy that never names a zebra, and one answer through a voice of it, for the tests of what leaves."""

import functools
import json
import shutil
import tempfile
from pathlib import Path

from proxy.config import SHIPPED_POLICIES
from proxy.line import Line
from proxy.memo import Memo
from proxy.policy.load import load_policy
from proxy.turn import Delta, Turn
from proxy.voice import Order, Voice
from proxy.wire.collect import Collector
from proxy.wire.skeleton import Skeleton

POLICY = """
policy: zoo
version: 1
about: the word zebra never leaves, nor does an e-mail address
audience: adult
languages: [en]
say: {{sorry: {{en: Sorry.}}, fallback: {{en: Let us talk of bears.}}, other: {{en: Bears are better.}}}}
phrases: {{zebra: {{en: [my zebra]}}}}
rails:
  - {{id: zebra, rail: phrases, why: it is never named, assistant_says: zebra{say}}}
  - {{id: private, rail: pii, why: nobody need know, entities: [EMAIL_ADDRESS]}}
{more}
"""
OTHER, FALLBACK = "Bears are better.", "Let us talk of bears."


@functools.cache
def zoo(say=", say: other", more=""):
    """The policy; without `say` a sentence with the phrase is left out."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "zoo.yaml"
        shutil.copy(SHIPPED_POLICIES / "recognizers.yaml", path.parent)
        path.write_text(POLICY.format(say=say, more=more), encoding="utf-8")
        return load_policy(path)


def chunk(finish=None, index=0, **delta):
    body = {"id": "c", "model": "m", "choices": [{"index": index, "delta": delta, "finish_reason": finish}]}
    return Delta(json.dumps(body).encode(), body)


def call(index=None, id=None, name=None, arguments=None):
    """A part of a tool call, as a delta tells it."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    told = {key: value for key, value in (("index", index), ("id", id)) if value is not None}
    return {**told, "type": "function", "function": function}


class Said:
    """What left of one answer."""

    def __init__(self, voice, events):
        self.voice, self.events = voice, events
        collector = Collector()
        for event in events:
            collector.add(event.event)
        (choice,) = collector.body()["choices"]
        self.message, self.finish = choice["message"], choice["finish_reason"]
        self.acts = [(found.rail, found.verdict.act.value) for found in voice.line.findings]

    @property
    def calls(self):
        return [(one["function"]["name"], one["function"]["arguments"]) for one in self.message.get("tool_calls", ())]


async def said(chunks, policy=None, *, tools=("weather",), **order):
    """The chunks through a voice, cut short where no more of them is wanted."""
    line = Line(policy or zoo(), Turn("t1", "en", "", 1000.0, {}), Memo())
    voice = Voice(line, Order(allowed=frozenset(tools).__contains__, **order), Skeleton("t1", "m"))
    left = []
    for one in chunks:
        left += await voice.take(one)
        if voice.ended:
            break
    return Said(voice, [*left, *await voice.finish(), *voice.close(None)])
