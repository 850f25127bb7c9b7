"""A policy's own tests: what counts as passed, and what is said of the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import odd
import pytest

from proxy.policy import Policy, load_policy
from proxy.policy.trial import run_tests
from proxy.turn import Act, Segment, Verdict
from rails import clamp

Write = Callable[..., Path]


async def test_a_good_policy_passes_its_own_tests(tiny: Policy) -> None:
    report = await run_tests(tiny)
    assert report.failures == []
    assert (report.languages["en"], report.languages["it"], report.languages["ko"]) == (7, 1, 1)
    assert (report.misses, report.promoted) == (1, [])


@pytest.mark.parametrize(
    ("old", "new", "line", "rail", "message"),
    [
        ('hurt myself"}', 'sing"}', 36, "crisis", "does not trip: 'I want to sing'"),
        (
            "a bus stop",
            "a stop",
            54,
            "stop",
            "does not pass: 'Let us draw a stop' (the user wants to end (stop): a phrase of the list)",
        ),
        ('becomes: "Okay."', 'becomes: "Fine."', 52, "stop", "becomes 'Okay.' instead of 'Fine.'"),
        ('becomes: "Okay, we', 'becomes: "We', 50, "stop", "becomes 'Okay, we stop. Bye!' instead of"),
        ('"One. Two."}', '"One. Two. Three. Four."}', 74, "clamp", "does not pass"),
        ("Come ti chiami? Gio", "Come va? Gio", 65, "asks-private", "does not trip"),
    ],
)
async def test_failures(write: Write, old: str, new: str, line: int, rail: str, message: str) -> None:
    (failure,) = (await run_tests(load_policy(write(old, new)))).failures
    assert failure.where.endswith(f"tiny.yaml:{line}")
    assert failure.rail == rail
    assert message in failure.message


async def test_a_test_that_another_rail_answers_names_that_rail(write: Write) -> None:
    (failure,) = (await run_tests(load_policy(write('hurt myself"}', 'stop"}')))).failures
    assert failure.message == "does not trip: 'I want to stop' (only stop)"


async def test_a_known_miss_that_trips_is_to_be_moved_and_fails_nothing(write: Write) -> None:
    report = await run_tests(load_policy(write("my eyes are closing", "good night")))
    assert report.failures == []
    assert report.misses == 0
    (promoted,) = report.promoted
    assert promoted.message == "trips by now, move it up to `trips`: 'good night'"


async def test_the_tests_of_a_rail_in_shadow_say_what_it_will_do(write: Write) -> None:
    assert (await run_tests(load_policy(write("mode: enforce", "mode: shadow")))).failures == []


async def test_a_house_line_may_not_trip_its_own_policy(write: Write) -> None:
    report = await run_tests(load_policy(write('it: "Ti ascolto."', 'it: "Come ti chiami?"')))
    (failure,) = report.failures
    assert failure.rail == "asks-private"
    assert failure.message == "trips on the house's own line `say.fallback.it`: 'Come ti chiami?'"


async def test_a_verdict_that_depends_on_the_chunks_is_a_failure(tiny: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    async def check(self: object, segment: Segment) -> Verdict:
        nonlocal calls
        calls += 1
        return Verdict(Act.DROP) if calls % 2 else Verdict()

    monkeypatch.setattr(clamp.Rail, "check", check)
    report = await run_tests(tiny)
    assert any("depends on how the text is cut" in failure.message for failure in report.failures)


async def test_a_rail_that_breaks_is_a_failure(tiny: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(self: object, segment: Segment) -> Verdict:
        raise RuntimeError

    monkeypatch.setattr(clamp.Rail, "check", check)
    report = await run_tests(tiny)
    assert "`clamp` broke (RuntimeError): 'One. Two.'" in [failure.message for failure in report.failures]


# (a test of the odd rail, how it fails; empty: it passes)
ODD = [
    ('trips: [{user: c, earlier: [a, b], becomes: "Hush now."}]', ""),
    ('trips: [{user: c, earlier: [a], becomes: "c"}]', "does not trip: 'c'"),
    ("passes: [{user: c, earlier: [a]}]", ""),
    ("passes: [{user: c, earlier: [a, b]}]", "does not pass: 'c' (turns at [0.0, 1.0, 2.0], 2 messages before)"),
    # the house's own answer is a message, too
    ("passes: [{user: c, earlier: [stop!, b]}]", "does not pass: 'c' (turns at [0.0, 1.0, 2.0], 3 messages before)"),
    ("passes: [{assistant: Fine., user: c, earlier: [a, b]}]", ""),  # what was heard before it is no part of it
    ("trips: [{user: c, settings: {bedtime: on}}]", ""),
    ("passes: [{user: c, settings: {bedtime: off}}]", ""),
    ("passes: [{user: c, settings: {bedtime: late}}]", ""),
    ("trips: [{user: c, earlier: [a], settings: {bedtime: yes}, lang: it, becomes: Piano.}]", ""),
    ("trips: [{user: say it softly}]", ""),
    ("trips: [{user: go backwards, becomes: sdrawkcab og}]", ""),
    ("passes: [{user: c, earlier: [it breaks]}]", "`odd` broke (RuntimeError): 'c'"),
    ("passes: [{assistant: Fine., user: it breaks}]", "`odd` broke (RuntimeError): 'Fine.'"),
]


@pytest.mark.parametrize(("case", "message"), ODD)
async def test_earlier_turns_and_settings(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: str, message: str
) -> None:
    odd.add(monkeypatch)
    (tmp_path / "flows").mkdir()
    options = "    folder: flows\n    settings: [bedtime]\n"
    report = await run_tests(load_policy(write(more=f"{odd.ENTRY}{options}    tests: {{{case}}}\n")))
    assert [failure.message.partition(" (only")[0] for failure in report.failures] == [message][: bool(message)]


async def test_languages_of_tests_with_earlier_turns(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that tells no language is in the session's, as it is when the house serves."""
    odd.add(monkeypatch)
    case = "    tests: {passes: [{user: hm, earlier: [ciao come stai]}]}\n"
    before = (await run_tests(load_policy(write(more=odd.ENTRY)))).languages
    after = (await run_tests(load_policy(write(more=odd.ENTRY + case)))).languages
    assert after - before == {"it": 1}


@pytest.mark.parametrize("mode", ["enforce", "shadow"])
async def test_a_line_that_a_rail_brings_may_not_trip_its_policy(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: str
) -> None:
    odd.add(monkeypatch)
    (tmp_path / "flows").mkdir()
    options = f'    folder: flows\n    mode: {mode}\n    hush: "Hush. What\'s your name?"\n'
    (failure,) = (await run_tests(load_policy(write(more=odd.ENTRY + options)))).failures
    assert (failure.where, failure.rail) == ("flows/a.co:7", "asks-private")
    assert failure.message.startswith(f"trips on the house's own line `odd{':shadow' * (mode == 'shadow')}/hush.en`: ")


async def test_a_line_is_tried_with_each_number_that_it_may_tell(write: Write) -> None:
    """Law 9 counts for what is said, and that has the number in it."""
    lines = "".join(
        f"  - {{country: {country}, for: [emergency], number: {number}, name: N, checked: 2026-11-21}}\n"
        for country, number in [("GB", "999"), ("KR", "119"), ("IT", "112"), ("US", "what's your name")]
    )
    more = f"country: {{en: GB, it: IT, ko: KR}}\nhelp_lines:\n{lines}"
    (failure,) = (await run_tests(load_policy(write("tell a grown-up.", "call {help}.", more=more)))).failures
    assert failure.message == "trips on the house's own line `say.care.en`: \"Please call what's your name.\""
