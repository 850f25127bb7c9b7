"""The house's own lines are known whole, in part, and with the numbers of help lines in them."""

from pathlib import Path

import pytest

from proxy.turn import House, Segment, Turn
from rails._own import Own

HOUSE = House(("en", "ko"), {}, Path())
HOUSE.own.update({"Go to a grown-up. Or call {help}.", "믿을 수 있는 어른한테 말해.", "Yes, I am a computer program."})
HOUSE.own.update({"{role} is who I am today.", "Era {answer}. Giochiamo ancora insieme?", "Call {help}.", "I see!"})


@pytest.mark.parametrize(
    ("before", "text", "own"),
    [
        ("", "Go to a grown-up. ", True),
        ("Go to a grown-up. ", "Or call 112 or 911.", True),
        ("", "믿을 수 있는 어른한테 말해.", True),
        ("", "Go to a grown-up. Or do not.", False),
        ("", "!!", False),
        ("Once upon a time. ", "Go to a grown-up. ", False),
        ("", "Yes, I am a computer.", True),
        ("", "Yes.", False),  # a beginning of too few letters
        ("", "I see!", True),  # but a whole line
        ("", "I am a human girl", False),  # all of it in a gap
        ("", "Era a real boy, I swear", False),
        ("Era a real boy. ", "Giochiamo ancora insieme?", True),
        ("", "믿을 수 있는", True),  # a syllable is more than a letter
        ("", "Call 112!", True),
        ("", "Call me, I am real", False),  # whole, but hardly the house's
    ],
)
def test_own_lines(before, text, own):
    assert Own(HOUSE).says(Segment("assistant", text, Turn("t", "en"), before=before)) is own
