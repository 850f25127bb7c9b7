"""The frozen sentences can be read, and each is of a kind that its head knows."""

import pytest

from rails._learned.frozen import sentences
from rails._learned.model import shipped


@pytest.mark.parametrize("head", ["stop", "crisis", "asks", "risky", "persona", "childrisk", "unsafe"])
def test_each_is_of_a_kind_that_the_head_knows(head):
    found = list(sentences(head))
    assert {one.language for one in found} == {"en", "it", "ko"}
    assert {one.kind for one in found} <= {*shipped().kinds[head]}
    assert {one.kind == "-" for one in found} == {True, False}
    assert all(one.text.strip() for one in found)


def test_a_head_for_which_none_were_written_has_none():
    assert list(sentences("weather")) == []
