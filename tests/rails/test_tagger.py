"""What is done with the learned tags: joined, without particles, at the original's place; and some very clear ones."""

from pathlib import Path

import numpy as np
import pytest

from proxy.turn import House, Plain, Segment, Turn, plain
from rails import _tagger, pii
from rails._learned.model import Bar, Read, shipped, words
from rails._tagger import Tagger

HOUSE = House(("en", "it", "ko"), {}, Path())
KINDS = ("-", "NAME", "SCHOOL", "PLATE")


class Tags:
    """In the place of the learned model: is as sure of each word as the test says."""

    private = KINDS

    def __init__(self, sure, kind="NAME"):
        self._sure, self._kind = sure, KINDS.index(kind)

    def bar(self, head, language):
        return Bar(maybe=0.8, alone=0.8, hinted=0.5)

    def reads(self, text: Plain, before: Plain, side: str, memo: object) -> list[Read]:
        heard, none = words(text), np.zeros(1, np.float32)
        tags = np.zeros((len(heard), len(KINDS)), np.float32)
        tags[:, self._kind] = [self._sure.get(word.key.rstrip("^"), 0) for word in heard]
        tags[:, 0] = 1 - tags.sum(1)
        return [Read(heard, none, tags, none)]


@pytest.fixture
def found(monkeypatch):
    def tagged(text, sure, role="user", before="", house=HOUSE, **more):
        monkeypatch.setattr(_tagger, "shipped", lambda: Tags(sure, **more))
        segment = Segment(role, text, Turn("t", "en"), before=before)
        return [(text[span.start : span.end], span.entity) for span, _ in Tagger(house).spans(segment)]

    return tagged


@pytest.mark.parametrize(
    ("text", "sure", "covered"),
    [
        ("i met Tom today", {"tom": 0.9}, ["Tom"]),
        ("i met Tom today", {"tom": 0.79}, []),
        ("i met Tom Baker today", {"tom": 0.9, "baker": 0.5}, ["Tom Baker"]),  # less is asked of what goes on
        ("i met Tom Baker today", {"tom": 0.5, "baker": 0.9}, ["Baker"]),
        ("Tom and Anna", {"tom": 0.9, "anna": 0.9}, ["Tom", "Anna"]),
        ("민준이가 왔어", {"민준이가": 0.9}, ["민준"]),
        ("박하은이랑 놀았어", {"박하은이랑": 0.9}, ["박하은"]),
        ("i met T\u200bom today", {"tom": 0.9}, ["T\u200bom"]),
        ("", {}, []),
    ],
)
def test_what_is_covered(found, text, sure, covered):
    assert found(text, sure) == [(one, "PERSON") for one in covered]


def test_a_kind_is_named_as_in_presidio(found):
    assert found("i go to Oakfield", {"oakfield": 0.9}, kind="SCHOOL") == [("Oakfield", "SCHOOL")]
    assert found("our car is FX", {"fx": 0.9}, kind="PLATE") == [("FX", "LICENSE_PLATE")]


def test_every_kind_of_the_shipped_model_is_one_that_a_policy_can_name():
    named = {_tagger._ENTITIES[kind] for kind in shipped().private[1:]}
    assert named <= set(pii.RailOptions().entities)


def test_a_line_of_the_house_has_nothing_private_in_it(found):
    house = House(("en",), {}, Path())
    house.own.add("Ask Tom the bear.")
    sure = {"tom": 0.9}
    assert found("Ask Tom the bear.", sure, "assistant", house=house) == []
    assert found("Ask Tom the bear.", sure, "user", house=house) == [("Tom", "PERSON")]
    assert found("Ask Tom the fox.", sure, "assistant", house=house) == [("Tom", "PERSON")]


@pytest.mark.parametrize(
    ("language", "text", "datum"),
    [
        ("en", "i live at 12 Oak Street", "12 Oak Street"),
        ("it", "abito in via Garibaldi 8", "via Garibaldi 8"),
        ("ko", "내 이름은 김민준이야", "김민준"),
    ],
)
def test_the_shipped_model_knows_the_plainest(language, text, datum):
    spans = [span for span, _ in Tagger(HOUSE).spans(Segment("user", text, Turn("t", language)))]
    start = plain(text).text.index(datum)
    assert all(any(span.start <= at < span.end for span in spans) for at in range(start, start + len(datum)))


@pytest.mark.parametrize("text", ["the dragon sleeps in a big cave", "l'orso mangia il miele", "곰이 꿀을 먹어"])
def test_nor_does_it_cover_a_plain_story(text):
    assert Tagger(HOUSE).spans(Segment("user", text, Turn("t", "en"))) == []
