"""Events wait for the line: what leaves is what the pieces say, in order, and untouched events leave as they came."""

import itertools

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.answer import Piece
from proxy.turn import Delta
from proxy.wire.events import content, finish_reason
from proxy.wire.outbox import Outbox
from proxy.wire.sieve import Sieve
from proxy.wire.skeleton import Skeleton


def came(text, reason=None, **delta):
    """An event as a backend sends it: its bytes are not those that we would write."""
    fields = {"index": 0, "delta": {"content": text, **delta}, "finish_reason": reason, "logprobs": {"of": text}}
    body = {"id": "c", "odd": 1, "choices": [fields]}
    return Delta(orjson.dumps(body) + b" ", body)


def box(*deltas):
    outbox = Outbox(Skeleton("t", "m"))
    for delta in deltas:
        outbox.hold(delta)
    return outbox


def texts(deltas):
    return [content(delta.event) for delta in deltas]


def fields(delta):
    return delta.event["choices"][0]


# -- any cutting -------------------------------------------------------------------------------------------------------


def cut(text, places):
    borders = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return list(itertools.pairwise(borders))


@st.composite
def answers(draw):
    """A text, the events that bring it, its settled pieces, and how many of these are settled after each event."""
    text = draw(st.text("abc .é안🐻", max_size=40))
    events = [came(text[a:b]) for a, b in cut(text, draw(st.lists(st.integers(0, 99), max_size=8)))]
    for place in draw(st.lists(st.integers(0, 99), max_size=2)):
        events.insert(place % (len(events) + 1), came(""))
    if events and draw(st.booleans()):
        events[-1] = came(content(events[-1].event), "length")  # as TGI does; vLLM has an empty event for it
    else:
        events.append(came("", "length"))
    becomes = st.one_of(st.none(), st.none(), st.just(""), st.text("XYZ", min_size=1, max_size=4))
    pieces = [Piece(a, b, draw(becomes)) for a, b in cut(text, draw(st.lists(st.integers(0, 99), max_size=8)))]
    lags = draw(st.lists(st.integers(0, 3), min_size=len(events), max_size=len(events)))
    return text, events, pieces, lags


def expected(text, pieces):
    return "".join(text[piece.start : piece.end] if piece.text is None else piece.text for piece in pieces)


def passed(events, pieces, lags):
    """Everything that left before the end, with what was settled at each release."""
    outbox, waiting, held, left, settled = Outbox(Skeleton("t", "m")), list(pieces), 0, [], [0]
    for event, lag in zip(events, lags, strict=True):
        held += len(outbox.hold(event))
        ready = [piece for piece in waiting if piece.end <= held]
        ready = ready[: max(0, len(ready) - lag)]
        waiting = waiting[len(ready) :]
        left += outbox.release(ready)
        settled.append(ready[-1].end if ready else settled[-1])
        yield outbox, left, settled
    left += outbox.release(waiting)
    yield outbox, left, [*settled, sum(len(content(event.event)) for event in events)]


@given(answers())
def test_property_what_leaves_is_what_the_pieces_say(answer):
    text, events, pieces, lags = answer
    final = len(text) - len(content(events[-1].event))  # from here on the text comes with the final event
    for _, left, settled in passed(events, pieces, lags):
        done = [piece for piece in pieces if piece.end <= settled[-1]]
        assert expected(text, done).startswith("".join(texts(left))), "something left that was not settled"
        if settled[-1] <= final:
            assert "".join(texts(left)) == expected(text, done), "something settled was kept back"


@given(answers(), st.sampled_from([None, "content_filter"]))
def test_property_the_end_brings_the_rest_and_the_reason_once(answer, reason):
    text, events, pieces, lags = answer
    *_, (outbox, left, _) = passed(events, pieces, lags)
    closing = outbox.close(reason)
    assert "".join(texts(left + closing)) == expected(text, pieces)
    reasons = [finish_reason(delta.event) for delta in left + closing]
    assert reasons == [None] * (len(reasons) - 1) + [reason or "length"]
    assert outbox.close(None)[0].event["choices"][0]["delta"] == {}, "nothing is left behind"


@given(answers())
def test_property_untouched_events_leave_as_they_came_and_in_order(answer):
    _text, events, pieces, lags = answer
    *_, (outbox, left, settled) = passed(events, pieces, lags)
    out = left + outbox.close(None)
    start, untouched = 0, []
    for event in events:
        end = start + len(content(event.event))
        over = [piece for piece in pieces if max(start, piece.start) < min(end, piece.end)]
        if all(piece.text is None for piece in over) and not any(start < border < end for border in settled):
            untouched.append(id(event))
        start = end
    ours = {id(event) for event in events}
    assert [id(delta) for delta in out if id(delta) in ours] == untouched
    for delta in out:
        assert id(delta) in ours or "logprobs" not in fields(delta), "a changed event tells of the old text"
        assert id(delta) in ours or orjson.loads(delta.raw) == delta.event


# -- single cases ------------------------------------------------------------------------------------------------------


def test_hold_gives_the_text_and_notes_the_reason():
    outbox = box()
    assert [outbox.hold(came("Hi")), outbox.reason] == ["Hi", None]
    assert [outbox.hold(came(" there", "length")), outbox.reason] == [" there", "length"]
    assert [outbox.hold(came("")), outbox.reason] == ["", "length"]


def test_an_event_without_text_waits_for_what_stands_before_it():
    first, text, empty = came("", role="assistant"), came("Hi"), came("")
    outbox = box(first, text, empty)
    assert outbox.release([]) == [first]
    assert outbox.release([Piece(0, 2, None)]) == [text, empty]


def test_an_event_across_a_border_leaves_in_two():
    across = came("one. Two")
    outbox = box(across)
    (head,) = outbox.release([Piece(0, 4, None)])
    (tail,) = outbox.release([Piece(4, 8, None)])
    assert texts([head, tail]) == ["one.", " Two"]
    assert ("odd" in head.event, tail.event["odd"]) == (False, 1)  # told once
    assert "logprobs" not in fields(head) | fields(tail)


@pytest.mark.parametrize(
    ("pieces", "left"),
    [
        ([Piece(0, 4, "X"), Piece(4, 8, None)], ["X", "b", "eee"]),
        ([Piece(0, 4, ""), Piece(4, 8, None)], ["b", "eee"]),
        ([Piece(0, 8, "X")], ["X"]),
        ([Piece(0, 2, None), Piece(2, 8, "X")], ["aa", "X"]),
        ([Piece(0, 4, "X"), Piece(4, 8, "Y")], ["X", "Y"]),
    ],
)
def test_what_took_a_pieces_place_leaves_where_the_piece_began(pieces, left):
    outbox = box(came("aa"), came("bbb"), came("eee"))
    assert [text for text in texts(outbox.release(pieces)) if text] == left


def test_a_dropped_beginning_still_tells_the_role():
    outbox = box(came("aa", role="assistant"), came("bb"))
    (told,) = outbox.release([Piece(0, 2, "")])
    assert fields(told)["delta"] == {"content": "", "role": "assistant"}
    assert outbox.release([Piece(2, 4, "")]) == []


@pytest.mark.parametrize(("first", "delta"), [(True, {"role": "assistant", "content": "X"}), (False, {"content": "X"})])
def test_a_line_at_the_end_needs_no_event(first, delta):
    outbox = box() if first else box(came("", role="assistant"))
    outbox.release([])
    (line,) = outbox.release([Piece(0, 0, "X")])
    assert fields(line)["delta"] == delta


@pytest.mark.parametrize(
    ("final", "reason", "finish"), [(False, None, "stop"), (False, "content_filter", "content_filter"), (True, None, "length")]
)  # fmt: skip
def test_an_answer_that_a_rail_ended_takes_nothing_unsettled_along(final, reason, finish):
    outbox = box(came("Bad. "), came("Unjudged", "length" if final else None))
    left = outbox.release([Piece(0, 4, "Bye.")])
    closing = outbox.close(reason)
    assert "".join(texts(left + closing)) == "Bye."
    assert finish_reason(closing[-1].event) == finish


def test_a_last_event_across_a_border_leaves_in_two():
    outbox = box(came("one. Two", "stop"))
    (head,) = outbox.release([Piece(0, 4, None)])
    assert outbox.release([Piece(4, 8, None)]) == []
    (tail,) = outbox.close(None)
    assert [(content(delta.event), finish_reason(delta.event)) for delta in (head, tail)] == [("one.", None), (" Two", "stop")]  # fmt: skip


@pytest.mark.parametrize(
    ("final", "pieces"),
    [("", [Piece(0, 4, "X")]), ("", [Piece(0, 4, None)]), ("Two", [Piece(0, 4, None), Piece(4, 7, "X")]), ("Two", [Piece(0, 4, "X")])],
)  # fmt: skip
def test_a_last_event_tells_no_tokens_of_text_that_did_not_leave(final, pieces):
    told = {"content": [], "refusal": [{"token": "Two", "logprob": -0.1}]}
    fields = {"index": 0, "delta": {"content": final}, "finish_reason": "stop", "logprobs": told}
    body = {"id": "c", "choices": [fields]}
    outbox = box(came("one."), Sieve().admitted(Delta(orjson.dumps(body), body)))
    outbox.release(pieces)
    (last,) = outbox.close(None)
    assert "logprobs" not in last.event["choices"][0]
    assert finish_reason(last.event) == "stop"


def test_the_backends_own_last_event_is_the_last():
    final = came("", "stop")
    outbox = box(came("Hi"), final)
    outbox.release([Piece(0, 2, None)])
    assert outbox.close(None) == [final]
