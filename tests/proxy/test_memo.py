"""The memo: one place for each message in its place, and no text in it."""

import pytest

from proxy.memo import Found, Memo
from proxy.turn import Span

TOM = Found((Span(0, 3, "PERSON"),))
NOTHING = Found()


def test_what_was_put_is_found_also_nothing():
    memo = Memo()
    memo.put(b"a", TOM)
    memo.put(b"b", NOTHING)
    assert (memo.get(b"a"), memo.get(b"b"), memo.get(b"c")) == (TOM, NOTHING, None)


def test_the_least_recently_used_goes_first():
    memo = Memo(size=2)
    memo.put(b"a", TOM)
    memo.put(b"b", TOM)
    memo.get(b"a")
    memo.put(b"c", TOM)
    assert [memo.get(key) is not None for key in (b"a", b"b", b"c")] == [True, False, True]


def test_the_same_again_takes_no_more_room():
    memo = Memo(size=2)
    memo.put(b"a", NOTHING)
    memo.put(b"b", TOM)
    memo.put(b"b", NOTHING)
    assert (memo.get(b"a"), memo.get(b"b")) == (NOTHING, NOTHING)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("a", "b"), ("a", "b"), True),
        (("ab", "c"), ("a", "bc"), False),
        (("a", "b"), ("b", "a"), False),
        (("a",), ("a", ""), False),
        (("\ud800",), ("\ud801",), False),  # a lone surrogate is no UTF-8
    ],
)
def test_keys_differ_where_parts_do(one, other, same):
    assert (Memo.key(*one) == Memo.key(*other)) is same


def test_no_text_is_kept():
    memo = Memo()
    memo.put(memo.key("digest", "en", "user", "Zebra lives in Oak Street", ""), TOM)
    assert b"Zebra" not in repr(vars(memo)).encode()
    assert len(memo.key("x" * 10_000)) == 16
