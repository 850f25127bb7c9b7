"""What the examples of a policy change of the learned judgement, on a model that is as sure as a test wants."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from proxy.turn import Heard, House, Segment, Taught, Turn
from rails import _sense
from rails._learned.frozen import Sentence
from rails._learned.model import Bar
from rails._sense import Sense, Sensed

KINDS = ("-", "fear", "abuse", "doubt")
HOUSE = House(("en",), {}, Path())
MEANINGS = {"dark": (1.0, 0.0), "night": (0.999, 0.045), "dusk": (0.9, 0.436), "bear": (0.0, 1.0)}


class Model:
    """In the place of the shipped one: how likely each kind is, and what a text means by its last word."""

    def __init__(self, *told, maybe=0.8):
        self.kinds, self._told, self.asked = {"crisis": KINDS}, told, []
        self._maybe, self.threads = maybe, []

    def bar(self, head, language):
        return Bar(maybe=self._maybe, alone=0.8, hinted=0.3)

    def reads(self, text, before, side, memo):
        self.threads.append(threading.current_thread())

    def told(self, head, text, before, side, memo):
        self.asked.append((text.text, before.text, side))
        meaning = MEANINGS.get(text.text.rstrip(".").rpartition(" ")[2], (0.0, 0.0))
        return np.array(self._told, np.float32), np.array(meaning, np.float32)


@pytest.fixture
def build(monkeypatch):
    def built(*told, examples=(), maybe=0.8, **more):
        model = Model(*told, maybe=maybe)
        monkeypatch.setattr(_sense, "shipped", lambda: model)
        monkeypatch.setattr(_sense, "_NEAR", 0.85)  # of the shipped model's space; here the space is the test's
        house = replace(HOUSE, taught=tuple(examples))
        return Sense("crisis", house, "r", **{"apart": ("doubt",), **more}), model

    return built


def said(text, role="user", before="", memo=None, **more):
    return Segment(role, text, Turn("t", "en", memo={} if memo is None else memo, **more), before=before)


def example(text, trips, line=7, role="user"):
    return Taught(role, text, "", "en", trips, f"p.yaml:{line}")


@pytest.mark.parametrize(
    ("told", "hinted", "kind"),
    [
        ((0.1, 0.7, 0.2, 0.0), False, "fear"),
        ((0.1, 0.4, 0.5, 0.0), False, "abuse"),  # what trips is sure together; the likeliest names it
        ((0.3, 0.7, 0.0, 0.0), False, ""),
        ((0.6, 0.4, 0.0, 0.0), True, "fear"),
        ((0.8, 0.2, 0.0, 0.0), True, ""),
        ((0.1, 0.1, 0.0, 0.8), False, "doubt"),  # told only where nothing else is heard
        ((0.3, 0.0, 0.0, 0.7), False, ""),
        ((0.3, 0.0, 0.0, 0.7), True, ""),  # ... whatever a list says
        ((0.0, 0.4, 0.0, 0.6), True, "fear"),
    ],
)
def test_how_sure_it_must_be(build, told, hinted, kind):
    sense, _ = build(*told)
    sensed = sense.hear(said("hello"), hinted)
    assert (sensed.kind if sensed else "") == kind


@pytest.mark.parametrize(
    ("told", "hinted", "role", "heard"),
    [
        ((0.1, 0.9, 0.0, 0.0), False, "user", ("fear", True)),
        ((0.3, 0.7, 0.0, 0.0), False, "user", ("fear", False)),
        ((0.3, 0.7, 0.0, 0.0), True, "user", ("fear", True)),
        ((0.5, 0.5, 0.0, 0.0), False, "user", None),
        ((0.3, 0.0, 0.0, 0.7), False, "user", ("doubt", True)),
        ((0.1, 0.9, 0.0, 0.0), False, "assistant", ("fear", True)),
        ((0.3, 0.7, 0.0, 0.0), False, "assistant", None),  # a sentence of an answer is replaced, or it is not
    ],
)
def test_what_may_be_so_is_heard_but_not_for_sure(build, told, hinted, role, heard):
    sense, _ = build(*told, maybe=0.6)
    sensed = sense.hear(said("hello", role), hinted)
    assert (sensed and (sensed.kind, sensed.sure)) == heard


@pytest.mark.parametrize(
    ("told", "trips", "text", "heard"),
    [
        ((0.3, 0.7, 0.0, 0.0), True, "it is dark", True),
        ((0.3, 0.7, 0.0, 0.0), True, "it is dusk", True),  # like an example that trips
        ((0.1, 0.9, 0.0, 0.0), False, "it is dark", False),
        ((0.1, 0.9, 0.0, 0.0), False, "it is night", False),  # all but the same as one that passes
        ((0.1, 0.9, 0.0, 0.0), False, "it is dusk", True),  # like one that passes: it may be danger all the same
    ],
)
def test_an_example_that_passes_reaches_less_far(build, told, trips, text, heard):
    sense, _ = build(*told, examples=[example("in the dark", trips)])
    assert (sense.hear(said(text)) is not None) is heard


async def test_a_long_text_is_read_beside_the_loop_and_a_short_one_when_it_is_asked_for(build):
    sense, model = build(1.0, 0.0, 0.0, 0.0)
    await sense.ready(said("hello"))
    assert model.threads == []
    await sense.ready(said("hello " * 200))
    assert len(model.threads) == 1
    assert model.threads[0] is not threading.current_thread()


def test_nothing_is_heard_in_white_space(build):
    sense, model = build(0.0, 1.0, 0.0, 0.0)
    assert sense.hear(said(" \n")) is None
    assert model.asked == []


@pytest.mark.parametrize(
    ("text", "trips", "sure", "near"),
    [
        ("in the dark", True, 0.1, "p.yaml:7"),
        ("at night", True, 0.1, "p.yaml:7"),
        ("the bear", True, 0.1, None),  # which means something else
        ("at dusk", True, 0.1, None),  # near, but not near enough to carry the day alone
        ("at dusk", True, 0.6, "p.yaml:7"),
        ("in the dark", False, 0.9, None),
        ("the bear", False, 0.9, ""),  # the model's own judgement
        ("in the dark", True, 0.9, ""),  # ... which the example did not need to change
    ],
)
def test_an_example_counts_the_more_the_nearer(build, text, trips, sure, near):
    sense, _ = build(1 - sure, sure, 0.0, 0.0, examples=[example("so dark", trips)])
    sensed = sense.hear(said(text))
    assert (sensed.near if sensed else None) == near


def test_an_example_of_the_one_side_says_nothing_of_the_other(build):
    sense, _ = build(0.9, 0.1, 0.0, 0.0, examples=[example("so dark", True, role="assistant")])
    assert sense.hear(said("in the dark")) is None
    assert sense.hear(said("in the dark", "assistant"))


def test_the_reason_names_the_example_or_how_sure_it_was():
    assert Sensed("fear", 0.912).because == "the learned model, 0.91"
    assert Sensed("fear", 0.912, "p.yaml:7").because == "like the example at p.yaml:7"


def test_examples_that_mean_the_same_and_are_judged_differently_are_told_at_the_later_one(build):
    examples = [example("dark", True), example("night", False, 9), example("dark dark", True, 11), example("bear", False, 12)]  # fmt: skip
    sense, _ = build(0.9, 0.1, 0.0, 0.0, examples=examples)
    assert [(note.line, "p.yaml:7" in note.message or "p.yaml:9" in note.message) for note in sense.clashes()] == [
        (9, True),
        (11, True),
    ]


def test_what_the_other_side_had_said_is_judged_with_it(build):
    sense, model = build(0.9, 0.1, 0.0, 0.0)
    asked = (Heard("user", "hi"), Heard("assistant", "Shall we go now?"))
    sense.hear(said("yes", history=asked))
    sense.hear(said("yes", history=asked[:1]))
    sense.hear(said("Yes!", "assistant", user="can i go"))
    assert model.asked == [("yes", "Shall we go now?", "user"), ("yes", "", "user"), ("Yes!", "can i go", "assistant")]


def test_an_answers_instalments_are_judged_together_until_it_trips(build):
    sense, model = build(0.0, 1.0, 0.0, 0.0)
    memo = {}
    for before, text in (("", "One. "), ("One. ", "Two. "), ("x" * 500, "Three.")):
        sense.hear(said(text, "assistant", before, memo))
    quiet, heard = build(1.0, 0.0, 0.0, 0.0)
    for before, text in (("", "One. "), ("One. ", "Two. "), ("x" * 500, "Three.")):
        quiet.hear(said(text, "assistant", before))
    assert [text for text, _, _ in model.asked] == ["One. ", "Two. ", "x" * 240 + "Three."]
    assert [text for text, _, _ in heard.asked] == ["One. ", "One. Two. ", "x" * 240 + "Three."]


def test_a_line_of_the_house_is_no_slip_of_the_model(build):
    sense, _ = build(0.0, 1.0, 0.0, 0.0)
    HOUSE.own.add("Sweet dreams.")
    try:
        assert sense.hear(said("Sweet dreams.", "assistant")) is None
        assert sense.hear(said("Sweet dreams.", "user"))
        assert sense.hear(said("Bad dreams.", "assistant"))
    finally:
        HOUSE.own.discard("Sweet dreams.")


def test_what_the_examples_change_of_the_frozen_sentences_is_told(build, monkeypatch):
    frozen = [Sentence("en", "fear", "in the dark", ""), Sentence("en", "-", "good night", ""), Sentence("en", "-", "the bear", "")]  # fmt: skip
    monkeypatch.setattr(_sense, "sentences", lambda head: iter(frozen))
    told = (0.9, 0.1, 0.0, 0.0)
    assert build(*told)[0].review() == ""
    review = build(*told, examples=[example("so dark", True)])[0].review()
    assert review == "the examples mend 1 of the frozen sentences of `crisis` and spoil 1 (p.yaml:7)"
    assert build(*told, examples=[example("a bear", False)])[0].review() == ""
