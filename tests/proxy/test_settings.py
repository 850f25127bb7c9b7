"""A request's settings: texts that an app sends, values that rails see."""

import pytest

from proxy.settings import read, value, values

KNOWN = frozenset({"bedtime", "classroom", "age"})


@pytest.mark.parametrize(
    ("text", "seen"),
    [("on", True), ("True", True), (" yes ", True), ("off", False), ("FALSE", False), ("no", False), ("7", "7"),
     ("", ""), (" six to eight ", "six to eight"), ("once", "once")],
)  # fmt: skip
def test_a_switch_is_true_or_false_and_the_rest_is_text(text, seen):
    assert value(text) is seen if isinstance(seen, bool) else value(text) == seen


@pytest.mark.parametrize(
    ("header", "seen"),
    [
        ("", {}),
        (" , ,", {}),
        ("bedtime", {"bedtime": True}),
        ("bedtime=off, classroom", {"bedtime": False, "classroom": True}),
        (" bedtime = on ,age=six=to=eight", {"bedtime": True, "age": "six=to=eight"}),
        ("bedtime=on,bedtime=off", {"bedtime": False}),  # the last one counts
        ("age=" + "x" * 64, {"age": "x" * 64}),
    ],
)
def test_a_header_is_a_list_of_settings(header, seen):
    assert read(header, KNOWN) == seen


@pytest.mark.parametrize(
    ("given", "known", "words"),
    [
        ({"bedtme": "on"}, KNOWN, "no setting of this name; did you mean `bedtime`?"),
        ({"zzz": "on"}, KNOWN, "no setting of this name; it has age, bedtime and classroom"),
        ({"zzz": "on"}, (), "no setting of this name; it has none"),
        ({"age": "x" * 65}, KNOWN, "the value of `age` is longer than 64 characters"),
    ],
)
def test_what_cannot_be_set_is_named(given, known, words):
    with pytest.raises(ValueError, match=r"setting|value") as fault:
        values(given, known)
    assert words in str(fault.value)
    assert "x" * 65 not in str(fault.value)
