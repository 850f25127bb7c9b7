"""How the learned model reads a text: words at their places, and the pieces by which it knows them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.turn import plain
from rails._learned.words import BUCKETS, pieces, words


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("Don't stop!", ["don't", "stop", "!"]),
        ("I met Tom. He ran", ["i", "met", "tom^", ".", "he", "ran"]),  # a capital that begins a sentence says nothing
        ("Perché no? Sì", ["perche", "no", "?", "si"]),
        ("민준이 8살", ["민준이", "8", "살"]),
        ("st0p 12", ["stop", "12"]),
        ("  ~~ ", []),
        ("", []),
    ],
)
def test_what_is_a_word(text, keys):
    assert [word.key for word in words(plain(text))] == keys


@given(st.text())
def test_a_word_stands_where_it_is_said_to(text):
    flat = plain(text)
    ends = [0, *(end for word in words(flat) for end in (word.start, word.end))]
    assert ends == sorted(ends)
    assert ends[-1] <= len(flat.text)


@given(st.text(min_size=1, max_size=40))
def test_every_word_is_made_of_known_pieces(key):
    numbers = pieces(key)
    assert len(numbers) > 0
    assert numbers.min() >= 0
    assert numbers.max() < BUCKETS


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [("playing", "played", True), ("bear", "ship", False), ("졸려", "졸려요", True), ("tom", "tom^", True)],
)
def test_words_that_resemble_each_other_share_pieces(one, other, alike):
    assert bool({*pieces(one)} & {*pieces(other)}) is alike


def test_a_capital_and_a_place_in_the_list_of_names_are_hints():
    assert len({*pieces("bear^")} - {*pieces("bear")}) == 1
    assert {*pieces("oliver's")} & {*pieces("sofia")}  # both are names, and nothing else is alike
    assert not {*pieces("table's")} & {*pieces("sofia")}
