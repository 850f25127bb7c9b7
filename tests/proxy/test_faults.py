"""How a fault looks on a screen."""

from __future__ import annotations

import pytest

from proxy.faults import Fault, PolicyError, listed, nearest


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        (
            Fault("a.yaml", 2, 7, "`mode` is wrong", "mode: onn", "did you mean `on`?"),
            "a.yaml:2:7: `mode` is wrong\n    mode: onn\n          ^ did you mean `on`?",
        ),
        (Fault("a.yaml", 2, 1, "wrong", "x: y"), "a.yaml:2:1: wrong\n    x: y\n    ^"),
        (Fault("a.yaml", 1, 1, "empty", hint="write"), "a.yaml:1:1: empty\n    write"),
        (Fault("a.yaml", 1, 1, "empty"), "a.yaml:1:1: empty"),
        (
            Fault("a.yaml", 1, 6, "wrong", "곰: [곰]"),
            "a.yaml:1:6: wrong\n    곰: [곰]\n           ^",
        ),  # 곰 is two columns wide
        (Fault("a.yaml", 1, 2, "wrong", "\tx"), "a.yaml:1:2: wrong\n    \tx\n    \t^"),
    ],
)
def test_the_caret_stands_under_the_fault(fault: Fault, shown: str) -> None:
    assert str(fault) == shown


def test_a_long_line_is_cut_around_the_fault() -> None:
    fault = Fault("a.yaml", 1, 301, "wrong", "a" * 300 + "X" + "b" * 300)
    _, line, caret = str(fault).splitlines()
    assert len(line) == 104
    assert line[caret.index("^")] == "X"


def test_an_error_holds_each_fault_once_and_in_order() -> None:
    first, second = Fault("a.yaml", 1, 9, "x"), Fault("a.yaml", 2, 1, "y")
    error = PolicyError([second, first, second])
    assert error.faults == [first, second]
    assert str(error) == "a.yaml:1:9: x\na.yaml:2:1: y"


def test_words() -> None:
    assert nearest("clmap", ["clamp", "stop"]) == "did you mean `clamp`?"
    assert nearest("xyz", ["clamp", "stop"]) == ""
    assert [listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"], "and")] == ["a", "a or b", "a, b and c"]
