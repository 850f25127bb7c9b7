"""The nouns: the neighbourhood of a segment, spans across seams, lengths of time, the backend's faults."""

import pytest
from pydantic import TypeAdapter, ValidationError

from proxy.turn import BackendFault, Options, Seconds, Segment, Span, Turn, spans_within


def segment(text, **fields):
    return Segment("assistant", text, Turn("t", "en"), **fields)


@pytest.mark.parametrize(
    ("before", "after", "reach", "seen", "offset"),
    [
        ("", "", 80, "text", 0),
        ("My name is ", " and", 80, "My name is text and", 11),
        ("My name is ", " and", 5, "name is text and", 8),  # never begins inside a word
        ("My name is ", " and more", 3, "is text an", 3),
        ("x" * 30, "", 4, "x" * 8 + "text", 8),  # ... unless the word is longer than twice the reach
        ("a b ", "", 0, "text", 0),
    ],
)
def test_around(before, after, reach, seen, offset):
    whole, start = segment("text", before=before, after=after).around(reach)
    assert (whole.text, start) == (seen, offset)


def test_the_normal_form_is_made_once_a_turn():
    one = segment("Hello")
    assert one.plain() is one.plain()
    assert one.around()[0] is one.plain()


@pytest.mark.parametrize(
    ("span", "start", "length", "left"),
    [
        ((0, 5), 0, 5, (0, 5)), ((3, 8), 5, 10, (0, 3)), ((12, 20), 5, 10, (7, 10)), ((0, 5), 5, 10, None),
        ((15, 20), 5, 10, None), ((0, 30), 5, 10, (0, 10)), ((7, 7), 5, 10, None),
    ],
)  # fmt: skip
def test_spans_within(span, start, length, left):
    found = spans_within([Span(*span, "PERSON")], start, length)
    assert found == ((Span(*left, "PERSON"),) if left else ())


@pytest.mark.parametrize(
    ("text", "seconds"), [("400ms", 0.4), ("30s", 30), ("1.5s", 1.5), ("15m", 900), ("24h", 86400), ("90d", 7776000)]
)
def test_lengths_of_time(text, seconds):
    assert TypeAdapter(Seconds).validate_python(text) == seconds


@pytest.mark.parametrize("text", ["30", "s", "-1s", "1 s", "1w", "1s ", "1e3s", "", 30, None])
def test_what_is_no_length_of_time(text):
    with pytest.raises(ValidationError, match="a number with its unit"):
        TypeAdapter(Seconds).validate_python(text)


def test_a_turn_remembers_nothing_at_first():
    assert Turn("t", "en").recall("stop") == {}
    assert Turn("t", "en", state={"stop": {"at": 1}}).recall("stop") == {"at": 1}


def test_options_know_their_fields_and_stay():
    class Some(Options):
        length: int = 1

    with pytest.raises(ValidationError):
        Some(lenght=2)
    with pytest.raises(ValidationError):
        Some().length = 2


def test_a_backend_fault_is_an_openai_error():
    fault = BackendFault(504, "It fell silent.", code="backend_timeout")
    assert (fault.status, str(fault)) == (504, "It fell silent.")
    assert fault.error == {
        "message": "It fell silent.", "type": "upstream_error", "param": None, "code": "backend_timeout",
    }  # fmt: skip
