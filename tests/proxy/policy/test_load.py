"""A good file becomes a policy; `extends`, digests, modes and rails that cannot start."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import odd
import pytest

from proxy.policy import Policy, PolicyError, load_folder, load_policy

Write = Callable[..., Path]

CHILD = """\
policy: older
version: 1
about: Like tiny, for older children.
extends: tiny
audience: child
say:
  sorry: {en: "One moment."}
phrases:
  stop: {en: [enough]}
rails:
  - {id: clamp, sentences: 6}
  - {id: twice, rail: repeat, why: It repeats itself.}
"""


def test_a_good_file_becomes_a_policy(tiny: Policy) -> None:
    assert tiny.label == "tiny@3"
    assert tiny.languages == ("en", "it", "ko")
    assert tiny.hold == "sentence"
    assert tiny.late_after == 2.0
    assert tiny.keep.decisions == 90 * 86400
    assert tiny.say["bye"]["it"] == ("Va bene, ciao!",)
    assert [(bound.id, bound.kind, bound.key, bound.mode) for bound in tiny.rails] == [
        ("crisis", "crisis", "crisis", "enforce"),
        ("stop", "stop", "stop", "enforce"),
        ("asks-private", "phrases", "asks-private", "enforce"),
        ("clamp", "clamp", "clamp", "enforce"),
    ]
    assert [(example.expects, example.role) for example in tiny.rails[1].examples] == [
        ("trips", "user"),
        ("trips", "user"),
        ("trips", "assistant"),
        ("passes", "user"),
        ("known_misses", "user"),
    ]
    assert tiny.rails[0].examples[0].where.endswith("tiny.yaml:36")


def test_lines_rotate_and_fall_back_to_the_first_language(tiny: Policy) -> None:
    assert [tiny.line("bye", "en", nth) for nth in range(3)] == [
        "Okay, we stop. Bye!",
        "All right. Bye!",
        "Okay, we stop. Bye!",
    ]
    assert tiny.line("sorry", "fr") == "Hm."
    assert tiny.note("quiet", "it") == "Stai calmo."


def test_stand_ins(write: Write) -> None:
    policy = load_policy(write())
    assert (policy.stand_in("PERSON", "ko"), policy.stand_in("PERSON", "fr")) == ("친구", "a friend")
    assert policy.stand_in("URL", "en") == "<URL>"
    policy = load_policy(write("stand_ins:\n", "stand_ins:\n  DEFAULT: {en: that, it: quello, ko: 그거}\n"))
    assert policy.stand_in("URL", "it") == "quello"


def test_a_rail_in_shadow_keeps_its_own_state_and_one_that_is_off_is_left_out(write: Write) -> None:
    policy = load_policy(write("mode: enforce", "mode: shadow"))
    assert (policy.rails[2].key, policy.rails[2].mode) == ("asks-private:shadow", "shadow")
    assert [bound.id for bound in load_policy(write("mode: enforce", "mode: off")).rails] == ["crisis", "stop", "clamp"]


def test_a_policy_can_be_in_shadow_as_a_whole(write: Write) -> None:
    policy = load_policy(write("audience: child", "audience: adult\nmode: shadow"))
    assert {bound.mode for bound in policy.rails} == {"shadow"}


def test_extends_merges_mappings_by_key_and_rails_by_id(write: Write) -> None:
    write()
    older = load_policy(write(text=CHILD, name="older"))
    assert older.label == "older@1"
    assert (older.line("sorry", "en"), older.line("sorry", "it")) == ("One moment.", "Mh.")
    assert [bound.id for bound in older.rails] == ["crisis", "stop", "asks-private", "clamp", "twice"]
    assert older.rails[3].why == "Short answers."
    assert older.rails[0].examples[0].where.endswith("tiny.yaml:36")


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("sentences: 6", "sentnces: 6", "older.yaml:11:17"),
        ("enough]", "enough], fr: assez", "older.yaml:9:28"),
        ("version: 1\n", "", "older.yaml:1:1: `version` is missing"),
        ("extends: tiny", "extends: tyni", "older.yaml:4:10: no policy `tyni` beside this one"),
        ("extends: tiny", "extends: older", "older.yaml:4:10: `extends` goes round in a circle: older, older"),
        ("extends: tiny", "extends: ../tiny", "older.yaml:4:10: no policy"),
        ("extends: tiny", "extends: [tiny]", "older.yaml:4:10: `extends` must be a text"),
    ],
)
def test_faults_of_a_policy_that_extends_another(write: Write, old: str, new: str, place: str) -> None:
    write()
    path = write(old, new, text=CHILD, name="older")
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    assert place in str(caught.value)


def test_a_fault_that_is_inherited_is_shown_in_the_file_it_stands_in(write: Write) -> None:
    write("sentences: 3", "questions: many")
    with pytest.raises(PolicyError, match=r"tiny\.yaml:69:16: `questions` must be a whole number"):
        load_policy(write(text=CHILD, name="older"))


def test_a_circle_of_two(write: Write) -> None:
    write("version: 3", "version: 3\nextends: older")
    with pytest.raises(PolicyError, match="goes round in a circle: older, tiny, older"):
        load_policy(write(text=CHILD, name="older"))


def test_the_digest_covers_the_file_its_parents_and_the_files_it_names(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd.add(monkeypatch)
    names = tmp_path / "names.yaml"
    names.write_text("names: [a]")
    parent = write(
        "rail: clamp\n    why: Short answers.\n    sentences: 3", "rail: odd\n    why: x\n    file: names.yaml"
    )
    child = write("  - {id: clamp, sentences: 6}\n", "", text=CHILD, name="older")
    digests = [load_policy(child).digest]
    assert load_policy(child).digest == digests[0]
    for path in (child, parent, names):
        path.write_text(path.read_text("utf-8") + "\n", encoding="utf-8")
        digests.append(load_policy(child).digest)
    assert len(set(digests)) == 4
    assert all(len(digest) == 64 for digest in digests)


@pytest.mark.parametrize(
    ("file", "faults"),
    [
        ("broken", [r"tiny.yaml:66:5: the rail `clamp` cannot start: broken is no list"]),
        ("faulty", ["flows/a.co:3:1: no such action", "flows/b.co:4:1: no such line"]),
        ("unsettled", ["flows/a.co:5:1: no rail `pii`"]),
    ],
)
def test_what_a_rail_has_against_its_policy(
    write: Write, monkeypatch: pytest.MonkeyPatch, file: str, faults: list[str]
) -> None:
    odd.add(monkeypatch)
    path = write("rail: clamp\n    why: Short answers.\n    sentences: 3", f"rail: odd\n    why: x\n    file: {file}")
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    told = [str(fault) for fault in caught.value.faults]
    assert len(told) == len(faults)
    assert all(fault in one for fault, one in zip(faults, told, strict=True))


def test_faults_of_several_rails_are_told_at_once(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    odd.add(monkeypatch)
    first = odd.ENTRY.replace("id: odd", "id: one") + "    file: faulty\n"
    path = write(more=first + odd.ENTRY + "    file: broken\n")
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    assert len(caught.value.faults) == 3


@pytest.mark.parametrize("code", [False, True])
def test_a_rail_knows_its_house(write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: bool) -> None:
    odd.add(monkeypatch)
    path = write("mode: enforce", "mode: shadow", more=odd.ENTRY)
    policy = load_policy(path, code)
    rail: Any = policy.rails[-1].rail
    assert rail.house.code is code
    assert rail.house.folder == tmp_path
    assert rail.house.ids == {"crisis", "stop", "asks-private", "clamp", "odd"}
    assert rail.house.lines["bye"]["it"] == ("Va bene, ciao!",)
    assert rail.house.notes == {"quiet"}
    assert list(rail.house.rails) == ["crisis", "stop", "clamp", "odd"]  # not the one in shadow
    assert rail.house.rails["stop"] is policy.rails[1].rail
    assert rail.settled == 4  # all were there by then
    assert load_folder(tmp_path, code)["tiny"].rails[-1].rail.house.code is code


def forgetful(write: Write) -> str:
    """The small policy, for adults and so without `stop`, which hears what the answer before had asked."""
    text = write("audience: child", "audience: adult").read_text("utf-8")
    return text[: text.index("  - id: stop\n")] + text[text.index("  - id: asks-private\n") :]


def test_a_policy_has_what_its_rails_bring(write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    odd.add(monkeypatch)
    plain = load_policy(write(text=forgetful(write)))
    assert (plain.of_session, plain.settings, plain.notes, plain.places) == (False, frozenset(), (), {})
    (tmp_path / "flows").mkdir()
    first = odd.ENTRY.replace("id: odd", "id: first") + "    settings: [bedtime]\n"
    more = first + odd.ENTRY + "    folder: flows\n    settings: [bedtime, school]\n"
    policy = load_policy(write(text=forgetful(write), more=more))
    assert policy.line("odd/hush", "ko") == "쉿."
    assert policy.line("sorry", "ko") == "음."
    assert policy.places == {"odd/hush": "flows/a.co:7"}
    assert policy.settings == {"bedtime", "school"}
    assert [str(note) for note in policy.notes] == ["flows/a.co:9:1: needs a model"]
    assert [bound.of_session for bound in policy.rails] == [False] * 3 + [True] * 2
    assert policy.of_session


def test_a_rail_in_shadow_makes_no_memory_the_session_s_own(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    odd.add(monkeypatch)
    assert not load_policy(write(text=forgetful(write), more=odd.ENTRY + "    mode: shadow\n")).of_session
    assert load_policy(write()).of_session


@pytest.mark.parametrize(("word", "fine"), [("true", True), ("false", True), ("on", False), ("1", False), ("", False)])
def test_a_switch_is_true_or_false_and_nothing_else(
    write: Write, monkeypatch: pytest.MonkeyPatch, word: str, fine: bool
) -> None:
    odd.add(monkeypatch)
    path = write("rail: clamp\n    why: Short answers.\n    sentences: 3", f"rail: odd\n    why: x\n    switch: {word}")
    if fine:
        assert load_policy(path)
    else:
        with pytest.raises(PolicyError, match="`switch` must be true or false"):
            load_policy(path)


def test_a_rail_that_masks_is_bound_even_when_it_is_off(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    odd.add(monkeypatch)
    changed = "rail: odd\n    mode: off\n    why: x"
    policy = load_policy(write("rail: clamp\n    why: Short answers.\n    sentences: 3", changed))
    assert (policy.rails[3].id, policy.rails[3].mode, policy.rails[3].masks) == ("clamp", "off", True)


def test_the_digest_covers_the_folders_that_options_name(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    odd.add(monkeypatch)
    inner = tmp_path / "flows/inner"
    inner.mkdir(parents=True)
    path = write(more=odd.ENTRY + "    folder: flows\n")
    digests = [load_policy(path).digest]
    for change in (
        lambda: (inner / "b.co").write_text("b"),
        lambda: (inner / "b.co").write_text("c"),
        lambda: (inner / "b.co").rename(inner / "c.co"),
        lambda: (tmp_path / "flows/a.py").write_text("a"),
        lambda: (inner / "c.co").unlink(),
    ):
        change()
        digests.append(load_policy(path).digest)
    assert len(set(digests)) == 6
    for hidden in ("flows/.swp", "flows/inner/__pycache__/a.pyc", "flows/.git/a", "beside.co"):
        (tmp_path / hidden).parent.mkdir(exist_ok=True)
        (tmp_path / hidden).write_text("x")
    assert load_policy(path).digest == digests[-1]
    path = write(more=odd.ENTRY)  # which names none
    digest = load_policy(path).digest
    (tmp_path / "beside.co").write_text("y")
    assert load_policy(path).digest == digest


def test_files_that_change_while_they_are_read_are_no_version(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    odd.add(monkeypatch)
    (tmp_path / "flows").mkdir()
    path = write(more=odd.ENTRY + "    folder: flows\n    file: late\n")
    with pytest.raises(PolicyError, match="changed while they were read"):
        load_policy(path)
    assert load_policy(path)  # now it stays as it is


FLOWS = """\
  - id: flows
    rail: colang
    why: Rules of the house.
    folder: flows
    input: [a, bb]
    output:
      - idle
"""
LISTED = [  # what is changed in the entry, and where its fault stands
    ("bb", "cc", "policies/tiny.yaml:{5}:16: there is no flow `cc`"),
    ("idle", "idel", "policies/tiny.yaml:{7}:9: there is no flow `idel`"),
    ("[a, bb]", "[]\n    settings: [bedtime]", "policies/flows/a.co:10:3: `$session` has no `bedtme`"),
]


@pytest.mark.parametrize(("old", "new", "told"), LISTED)
def test_what_is_wrong_with_a_folder_is_told_as_the_policys_path_was_typed(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, told: str
) -> None:
    """An unknown flow stands in the policy's own list, other faults in the file of the flow; both can be clicked."""
    reads = "bedtme" if "bedtme" in told else "asked"
    flows = "".join(f"define flow {name}\n  $session.asked = 1\n  stop\n" for name in ("a", "bb", "idle"))
    (tmp_path / "policies/flows").mkdir(parents=True)
    (tmp_path / "policies/flows/a.co").write_text(f"{flows}  $x = $session.{reads}\n")
    write(name="policies/tiny", more=FLOWS.replace(old, new))
    start = (tmp_path / "policies/tiny.yaml").read_text().splitlines().index("  - id: flows")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PolicyError) as caught:
        load_policy(Path("policies/tiny.yaml"))
    numbers = [str(start + n) for n in range(9)]
    assert [str(fault).partition("\n")[0] for fault in caught.value.faults] == [told.format(*numbers)]


def test_what_rails_tell_beside_faults_is_told_so_too(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd.add(monkeypatch)
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/a.co").touch()
    policy = load_policy(write(more=odd.ENTRY + "    folder: flows\n"))
    assert policy.notes[0].file == str(tmp_path / "flows/a.co")
    assert policy.places == {"odd/hush": f"{tmp_path / 'flows/a.co'}:7"}


def test_a_folder_gives_its_policies_by_name_and_leaves_other_lists_alone(write: Write, tmp_path: Path) -> None:
    write()
    write(text=CHILD, name="older")
    (tmp_path / "recognizers.yaml").write_text("names:\n  en: [tommy]\n")
    assert sorted(load_folder(tmp_path)) == ["older", "tiny"]


def test_a_folder_reports_the_faults_of_all_its_policies(write: Write, tmp_path: Path) -> None:
    write("version: 3", "version: x", name="tiny")
    write("version: 3", "version: y", name="other")
    (tmp_path / "emptied.yaml").write_text("")
    with pytest.raises(PolicyError) as caught:
        load_folder(tmp_path)
    assert {Path(fault.file).name for fault in caught.value.faults} == {"tiny.yaml", "other.yaml", "emptied.yaml"}


def test_a_folder_without_policies(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no policy"):
        load_folder(tmp_path)


HELP = "  - {country: GB, for: [emergency], number: 999, name: Emergency, checked: CHECKED}\n"


@pytest.mark.parametrize(("days", "noted"), [(0, False), (180, False), (181, True), (-5, False)])
def test_a_number_that_nobody_checked_for_long_is_noted(write: Write, days: int, noted: bool) -> None:
    checked = datetime.now(UTC).date() - timedelta(days=days)
    policy = load_policy(write(more="help_lines:\n" + HELP.replace("CHECKED", str(checked))))
    words = f"the help line 999 (Emergency, GB) was last checked on {checked}"
    assert [(note.line, note.column, note.message) for note in policy.notes] == [(76, 76, words)][:noted]
    assert policy.numbers == ("999",)


@pytest.mark.parametrize(
    ("old", "new", "tells"),
    [
        ("", "", True),
        ("audience: child", "audience: adult\nmode: shadow", False),
        ("say: care}", "say: care, alert: false}", False),
    ],
)
def test_a_policy_knows_whether_it_tells_of_danger(write: Write, old: str, new: str, tells: bool) -> None:
    assert load_policy(write(old, new)).tells_of_danger is tells
