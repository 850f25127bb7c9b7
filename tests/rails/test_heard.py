"""What of a message a list's phrases cover."""

import pytest

from rails._heard import says_all


@pytest.mark.parametrize(
    ("text", "spots", "all_of_it"),
    [
        ("stop", [(0, 4)], True),
        ("stop!!! 😭😭😭", [(0, 4)], True),  # only letters are said
        ("sto\u200bp", [(0, 5)], True),
        ("stop stop", [(0, 4), (5, 9)], True),
        ("stop stop", [(0, 4), (0, 4)], False),  # the same spot is one
        ("a stop", [(2, 6)], False),
        ("0123456789", [(0, 9)], True),
        ("0123456789", [(0, 8)], False),
        ("stop " + " " * 400, [(0, 4)], False),  # nobody says that little at such length
        ("!!!", [(0, 3)], False),
        ("", [], False),
    ],
)
def test_says_all(text, spots, all_of_it):
    assert says_all(spots, text) is all_of_it


def test_how_much_is_nearly_all_may_be_said():
    assert says_all([(0, 6)], "0123456789", share=0.6)
    assert not says_all([(0, 5)], "0123456789", share=0.6)
