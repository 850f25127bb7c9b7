"""Quiet hours and the end of a long session."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from proxy.turn import Act, House, Segment, Turn
from rails.hours import Rail, RailOptions

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC).timestamp()


def rail(**options):
    asked = RailOptions.model_validate({"say_quiet": "quiet", "say_enough": "enough", "steer_last": "last", **options})
    return Rail("hours", asked, House(("en",), {}, Path()))


async def heard(one, now=NOON, state=None, **settings):
    turn = Turn("t", "en", now=now, state={"hours": state or {}}, settings=settings)
    return await one.check(Segment("user", "hello", turn))


@pytest.mark.parametrize(
    ("hours", "zone", "quiet"),
    [
        ("11:00-13:00", "UTC", True),
        ("12:00-13:00", "UTC", True),
        ("11:00-12:00", "UTC", False),
        ("20:00-07:00", "UTC", False),
        ("20:00-07:00", "Asia/Seoul", True),  # nine in the evening there
        ("20:00-13:30", "Europe/Rome", True),
        ("20:00-07:00", "Europe/Rome", False),
    ],
)
async def test_quiet_hours_hold_where_the_child_is(hours, zone, quiet):
    for one, settings in ((rail(quiet_hours=hours, zone=zone), {}), (rail(), {"quiet_hours": hours, "zone": zone})):
        verdict = await heard(one, **settings)
        assert (verdict.act, verdict.say) == ((Act.END, "quiet") if quiet else (Act.PASS, ""))


async def test_a_session_ends_gently_and_begins_anew_after_a_rest():
    one, state = rail(longest="30m", rest="1h"), {}
    seen = []
    for minute in (0, 10, 29, 31, 32, 40, 95, 96):
        verdict = await heard(one, NOON + 60 * minute, state)
        state |= verdict.remember
        seen.append(verdict.say or "".join(verdict.steer) or verdict.act.value)
    assert seen == ["pass", "pass", "pass", "last", "enough", "enough", "pass", "pass"]


async def test_a_parent_sets_how_long():
    state = {"begun": NOON - 600, "heard": NOON - 5, "last": True}
    assert (await heard(rail(), NOON, state, longest="5m")).say == "enough"
    assert (await heard(rail(), NOON, state, longest="15m")).act is Act.PASS


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"quiet_hours": "8pm"}, "`quiet_hours`: are written as 20:00-07:00"),
        ({"zone": "Rome"}, "`zone`: is written as Europe/Rome"),
        ({"longest": "half an hour"}, "`longest`: a length of time"),
    ],
)
def test_a_setting_that_cannot_be_is_told(settings, says):
    with pytest.raises(ValueError, match="^" + says):
        rail().admit(settings)


def test_quiet_hours_need_a_line():
    with pytest.raises(ValueError, match="say_quiet"):
        RailOptions(quiet_hours="20:00-07:00", say_enough="enough", steer_last="last")


async def test_nobody_who_was_in_danger_is_sent_to_bed():
    one = rail(quiet_hours="00:00-23:59")
    one._house.rails["crisis"] = SimpleNamespace(key="crisis")
    for ago, act in ((60, Act.PASS), (90_000, Act.END)):
        turn = Turn("t", "en", now=NOON, state={"crisis": {"at": NOON - ago}})
        assert (await one.check(Segment("user", "he is coming up the stairs", turn))).act is act
