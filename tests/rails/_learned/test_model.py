"""The learned model's mechanics: whatever it has learned, these hold. How well it judges stands in docs/learned.md."""

from itertools import pairwise

import numpy as np
import pytest

from proxy.turn import plain
from rails._learned import model as learned
from rails._learned.model import shipped

NOTHING = plain("")


def told(text, before="", head="stop", side="user", memo=None):
    return shipped().told(head, plain(text), plain(before), side, {} if memo is None else memo)


@pytest.mark.parametrize("head", ["stop", "crisis", "childrisk", "unsafe", "risky", "asks", "persona"])
def test_the_kinds_of_a_head_share_all_there_is(head):
    for text in ("i want to stop now", "!!", "", "그만할래"):
        shares, meaning = told(text, head=head)
        assert shares.shape == (len(shipped().kinds[head]),)
        assert shares.sum() == pytest.approx(1, abs=1e-5)
        assert np.isfinite(meaning).all()


@pytest.mark.parametrize("text", ["", "   ", "~ ~"])
def test_silence_is_nothing(text):
    assert told(text)[0][0] > 0.99


def test_one_text_is_judged_alike_each_time_and_read_once(monkeypatch):
    memo = {}
    first, _ = told("i want to stop now", "shall we play", memo=memo)
    monkeypatch.setattr(shipped(), "_read", None)  # whoever reads again fails
    again, _ = told("i want to stop now", "shall we play", memo=memo)
    other_head, _ = told("i want to stop now", "shall we play", head="crisis", memo=memo)
    assert (first == again).all()
    assert len(other_head) == len(shipped().kinds["crisis"])


def test_the_other_sides_turn_is_an_input_and_so_is_the_side():
    yes = told("yes", head="risky", side="assistant")[0]
    assert (told("yes", "can i light the candle", head="risky", side="assistant")[0] != yes).any()
    assert (told("yes", head="risky", side="user")[0] != yes).any()


def test_each_word_has_a_tag_and_its_place():
    (read,) = shipped().reads(plain("i am Tommy, hello"), NOTHING, "user", {})
    assert [word.key for word in read.words] == ["i", "am", "tommy^", ",", "hello"]
    assert read.tags.shape == (5, len(shipped().private))
    assert read.tags.sum(1) == pytest.approx(np.ones(5), abs=1e-3)


def test_a_long_text_is_read_in_pieces_so_that_one_sentence_is_not_lost():
    long = " ".join(f"w{number}" for number in range(500))
    pieces = [[word.key for word in read.words] for read in shipped().reads(plain(long), NOTHING, "user", {})]
    assert len(pieces) > 10
    assert {key for piece in pieces for key in piece} == {word.key for word in learned.words(plain(long))}
    assert max(map(len, pieces)) <= learned.LONGEST
    assert all({*one} & {*next_one} for one, next_one in pairwise(pieces))


@pytest.mark.parametrize("times", [1, 100, 30_000])
def test_the_work_on_a_hostile_text_is_linear(times):
    """A long text is read whole, and no word of it more than twice, in pieces of a bounded length."""
    heard = learned.words(plain("stop it now " * times))
    pieces = learned._pieces(heard)
    assert len(heard) <= sum(map(len, pieces)) <= 2 * len(heard)
    assert max(map(len, pieces)) <= learned.LONGEST
    assert pieces[-1][-1] is heard[-1]


def test_the_end_of_a_long_text_is_judged_as_well():
    calm = "the bear eats honey " * 500
    assert told(calm + "i want to stop now")[0][0] < told(calm)[0][0]


def test_a_language_it_never_learned_has_the_highest_bar():
    bars = [shipped().bar("risky", language) for language in ("en", "it", "ko")]
    assert shipped().bar("risky", "fr") == max(bars, key=lambda bar: bar.alone)
    assert all(0 < bar.hinted <= bar.alone < 1 for bar in bars)


def test_its_files_are_small():
    files = list(learned._FOLDER.iterdir())
    assert files
    assert [file.name for file in files if file.stat().st_size > 10_000_000] == []
