"""What stands for letters is read as the letters; numbers, units and addresses stay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.spelling import folded, spelt
from proxy.turn import Phrases, plain

MEANT = [
    ("st0p", "stop"),
    ("1gn0re this", "ignore this"),
    ("pl@ying", "playing"),
    ("$top it", "stop it"),
    ("b4sta cos1", "basta cos1"),
    ("\u0455\u0442\u043e\u0440 it", "stop it"),  # Cyrillic
    ("\u0412\u0410\u0405\u0422\u0410", "BASTA"),
    ("w1ll y0u", "will you"),
]
LEFT = ["7pm", "2nd place", "b4", "mp3", "h2o", "i have 3 dogs", "tommy@example.com", "www.a0b.com", "room 101", "그만할래", "1,000", "10km", "4 anni"]  # fmt: skip


@pytest.mark.parametrize(("text", "meant"), MEANT)
def test_look_alikes_are_read_as_the_letters_they_stand_for(text: str, meant: str) -> None:
    assert spelt(text) == meant


@pytest.mark.parametrize("text", LEFT)
def test_numbers_units_and_addresses_are_left_alone(text: str) -> None:
    assert spelt(text) == text


def test_a_learned_model_reads_without_capitals_and_accents() -> None:
    assert folded("PERCHÉ così? 그만") == "perche cosi? 그만"
    assert folded("STOP İ PERCHÉ") == "stop i perche"  # a letter that becomes two spoils no other


def test_a_list_finds_disguised_words_at_their_place_in_the_original() -> None:
    text = "ok \u200bѕt0p now"
    hit = Phrases({"en": ["stop"]}).find(plain(text))
    assert hit
    assert text[hit.start : hit.end] in ("ѕt0p", "\u200bѕt0p")


@given(st.text())
def test_no_character_is_lost_or_won(text: str) -> None:
    assert len(spelt(text)) == len(folded(text)) == len(text)
