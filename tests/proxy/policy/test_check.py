"""Each fault of a policy file: where it is shown, in which words, with which hint."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import odd
import pytest

from proxy.policy import Fault, PolicyError, load_policy

# (what is replaced in the tiny policy, by what, line:column of the fault, its message, its hint)
FAULTS = [
    ("version: 3", "verson: 3", "2:1", "`verson` is not a field of a policy", "did you mean `version`?"),
    ("version: 3", "verson: 3", "1:1", "`version` is missing", ""),
    ("version: 3", "version: three", "2:10", "`version` must be a whole number", ""),
    ("version: 3", "version: 0", "2:10", "`version` must be greater than or equal to 1", ""),
    ("about: A policy for tests.", "about:", "3:7", "`about` must not be empty", ""),
    ("audience: child", "audience: children", "4:11", "`audience` must be child or adult", "did you mean `child`?"),
    ("languages: [en, it, ko]", "languages: en", "5:12", "`languages` must be a list", ""),
    ("languages: [en, it, ko]", "languages: [en, it, ko, english]", "5:25", "`languages` must have at most 3", ""),
    ("hold: sentence", "hold: on", "6:7", "`hold` must be clause, sentence or message", ""),
    ("hold: sentence", "hold_max: 10", "6:11", "`hold_max` must be greater than or equal to 40", ""),
    ("hold: sentence", "late_after: 2", "6:13", "`late_after`: a length of time is a number with its unit", ""),
    ("hold: sentence", "keep: {text: forever}", "6:14", "`keep.text`: a length of time", ""),
    ("hold: sentence", "keep: {texts: 3d}", "6:8", "`texts` is not a field of `keep`", "did you mean `text`?"),
    ("hold: sentence", "model: {temperature: {max: warm}}", "6:28", "`model.temperature.max` must be a number", ""),
    ("hold: sentence", "model: {temperature: {mx: 1}}", "6:23", "`mx` is not a field of `model.temperature`", "`max`?"),
    ("hold: sentence", "model: {temperature: {max: nan}}", "6:28", "`model.temperature.max` must be a number", ""),
    ("hold: sentence", "hold: sentence\nhold: message", "7:1", "`hold` stands here twice", "the first is in line 6"),
    ('  sorry: {en: "Hm.", it: "Mh.", ko: "음."}', "", "7:1", "`say` has no `sorry`", "write one in every language"),
    ('  fallback: {en: "I', '  falback: {en: "I', "7:1", "`say` has no `fallback`", ""),
    (
        "hold: sentence",
        "vault: {restore: [], neutral: {en: hidden, it: nascosto}}",
        "6:22",
        "`vault.neutral` has no `ko`",
        "it stands for what is not given back",
    ),
    (
        "hold: sentence",
        "vault: {restore: [], neutral: {en: a, it: b, ko: c}}",
        "6:1",
        "a policy for children has no vault",
        "leave it out: the model reads the stand-ins",
    ),
    ("hold: sentence", "vault: {restor: []}", "6:9", "`restor` is not a field of `vault`", "did you mean `restore`?"),
    (', ko: "음."}', "}", "8:3", "`say.sorry` has no `ko`", "every language in `languages` needs one"),
    ('it: "Mh."', "it: []", "8:26", "`say.sorry.it` must not be empty", ""),
    ('it: "Mh."', 'it: ""', "8:26", "`say.sorry.it` must not be empty", ""),
    ('{en: "Hm.", it: "Mh.", ko: "음."}', "Hm.", "8:10", "`say.sorry` must be a mapping", ""),
    (', ko: "조용히."}', "}", "14:3", "`steer.quiet` has no `ko`", ""),
    ("it: un amico, ", "", "16:3", "`stand_ins.PERSON` has no `it`", ""),
    ("ko: [죽고 싶어]", "", "18:3", "`phrases.danger` has no `ko`", ""),
    ("ko: [죽고 싶어]", "ko: 죽고 싶어", "18:53", "`phrases.danger.ko` must be a list", ""),
    ("rail: clamp", "rail: clmap", "67:11", "no rail called `clmap` in rails/", "did you mean `clamp`?"),
    ("sentences: 3", "sentnces: 3", "69:5", "`sentnces` is not a field of the clamp rail", "did you mean `sentences`?"),
    ("sentences: 3", "sentences: a few", "69:16", "`sentences` must be a whole number", ""),
    ("mode: enforce", "mode: shadwo", "60:11", "`mode` must be enforce, shadow or off", "did you mean `shadow`?"),
    ("mode: enforce", "mode: on", "60:11", "`mode` must be enforce, shadow or off", ""),
    ("why: Short answers.", "", "66:5", "`why` is missing", ""),
    ("id: clamp", "id: stop", "66:9", "the rail id `stop` stands here twice", "the first is in line 37"),
    ("id: clamp", "id: Clamp it", "66:9", "`id` must be written in small letters, digits and hyphens", ""),
    ("assistant_says: asks", "assistant_says: ask", "61:21", "no list `ask` under `phrases`", "did you mean `asks`?"),
    ("say: no_secrets", "say: no_secret", "62:10", "no line `no_secret` under `say`", "did you mean `no_secrets`?"),
    ("steer: quiet\n    tests", "steer: loud\n    tests", "47:12", "no note `loud` under `steer`", ""),
    ("say: care", "say: car", "33:41", "no line `car` under `say`", "did you mean `care`?"),
    ("phrases: danger", "phrases: dager", "33:28", "no list `dager` under `phrases`", "did you mean `danger`?"),
    ("say: care", 'say: ""', "33:18", "a kind has either a `say`", ""),
    (
        "emergency: {phr",
        "emergncy: {phr",
        "33:17",
        "`kinds.emergncy` must be emergency, selfharm",
        "did you mean `emergency`?",
    ),
    ("hold: sentence", "retry: {note: quite, rails: [clamp]}", "6:15", "no note `quite` under `steer`", "`quiet`?"),
    ("hold: sentence", "retry: {note: quiet, rails: [clmp]}", "6:30", "no rail `clmp` in this policy", "`clamp`?"),
    ("hold: sentence", "retry: {note: quiet, rails: [clamp, stop]}", "6:37", "what `stop` says stands", "leave it out"),
    ("hold: sentence", "retry: {note: quiet, rails: []}", "6:29", "`retry` must not be empty", ""),
    ("hold: sentence", "retry: {rails: [clamp]}", "6:1", "`note` is missing", ""),
    ("hold: sentence", "country: {en: Britain}", "6:15", "a country is written in two capitals", ""),
    ("hold: sentence", "help_lines: [{country: GB}]", "6:14", "`for` is missing", ""),
    ('it: "Dillo a un grande."', 'it: "Chiama {help}."', "33:41", "there is no help line for it", "for: [emergency]"),
    ("    assistant_says: asks\n    say: no_secrets\n", "", "57:5", "a `phrases` rail needs a list", ""),
    ("{user: ", "{usr: ", "36:12", "`usr` is not a field of `tests.trips`", "did you mean `user`?"),
    ('{user: "I want to hurt myself"}', "{lang: en}", "36:11", "`tests.trips`: a test needs a `user` or an", ""),
    ("lang: en, bec", "lang: xx, bec", "72:55", "`xx` is not one of the policy's languages", "they are en, it and ko"),
    ("policy: tiny", "policy: little", "1:9", "the policy is called `little`, its file `tiny`", "one name"),
    (
        "hold: sentence",
        "hold: clause",
        "67:11",
        "`clamp` can judge nothing smaller than a sentence",
        "`hold: sentence`",
    ),
    (
        "hold: sentence",
        "mode: shadow",
        "6:7",
        "a policy for children is never in shadow as a whole",
        "`audience: adult`",
    ),
    ("rail: crisis", "rail: crisis\n    mode: shadow", "31:11", "`crisis` is always enforced", "`mode: enforce`"),
    ("rail: stop", "rail: stop\n    mode: off", "39:11", "`stop` is always enforced", ""),
    ("hold: sentence", "hold: [sentence", "7:4", "not valid YAML", ""),
    ("hold: sentence", "\thold: sentence", "6:1", "not valid YAML", "indent with spaces"),
    ("hold: sentence", "hold: &h sentence\nmode: *h", "7:7", "an alias (`*name`) is not allowed", ""),
    ("hold: sentence", "[a, b]: c", "6:1", "not valid YAML: a key must be a word", ""),
    ("hold: sentence", "hold: sen\x07tence", "6:10", "the character U+0007 is not allowed", ""),
    ("hold: sentence", "---\nhold: sentence", "6:1", "not valid YAML: expected a single document", ""),
]


@pytest.mark.parametrize(("old", "new", "place", "message", "hint"), FAULTS)
def test_fault_is_shown_at_its_place(
    write: Callable[..., Path], old: str, new: str, place: str, message: str, hint: str
) -> None:
    found = _faults(write(old, new))
    matching = [fault for fault in found if message in fault.message and f"{fault.line}:{fault.column}" == place]
    assert matching, "\n".join(map(str, found))
    assert hint in matching[0].hint


# (an option or a test of the odd rail, line:column of the fault, its message, its hint)
ODD_FAULTS = [
    ("folder: flwos", "78:13", "no folder `flwos` beside the policy", "did you mean `flows`?"),
    ("folder: flows/inner", "78:13", "no folder `flows/inner` beside the policy", ""),
    ("folder: tiny.yaml", "78:13", "no folder `tiny.yaml` beside the policy", ""),
    ("folder: ..", "78:13", "`..` is no folder beside the policy", "name one that stands beside the policy"),
    ("folder: flows/../..", "78:13", "`flows/../..` is no folder beside the policy", ""),
    ("folder: .", "78:13", "`.` is no folder beside the policy", ""),
    ('folder: ""', "78:13", "`` is no folder beside the policy", ""),
    ('folder: "a\\0b"', "78:13", "no folder `a\0b` beside the policy", ""),
    ("folder: {outside}", "78:13", "is no folder beside the policy", ""),
    ("folder: linked", "78:13", "`linked` is no folder beside the policy", ""),
    ("tests: {{trips: [{{user: a, settings: {{bedtiem: on}}}}]}}", "78:42", "no rail of this policy has a setting `bedtiem`", "did you mean `bedtime`?"),
    ("tests: {{passes: [{{user: a}}, {{user: b, settings: {{x: on}}}}]}}", "78:54", "has a setting `x`", "it has bedtime and school"),
    ("tests: {{passes: [{{user: a, settings: on}}]}}", "78:42", "`tests.passes.settings` must be a mapping", ""),
    ("tests: {{passes: [{{user: a, settings: {{bedtime: }}}}]}}", "78:51", "`tests.passes.settings.bedtime` must not be empty", ""),
    ("tests: {{passes: [{{user: a, earlier: hi}}]}}", "78:41", "`tests.passes.earlier` must be a list", ""),
    ("tests: {{passes: [{{earlier: [hi]}}]}}", "78:22", "a test needs a `user` or an `assistant` text", ""),
]  # fmt: skip


@pytest.mark.parametrize(("option", "place", "message", "hint"), ODD_FAULTS)
def test_faults_of_folders_and_settings(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory,
    option: str, place: str, message: str, hint: str,
) -> None:  # fmt: skip
    odd.add(monkeypatch)
    outside = tmp_path_factory.mktemp("outside")
    path = write(more=f"{odd.ENTRY}    {option.format(outside=outside)}\n    settings: [bedtime, school]\n")
    (path.parent / "flows").mkdir()
    (path.parent / "linked").symlink_to(outside)
    (fault,) = _faults(path)
    assert f"{fault.line}:{fault.column}" == place
    assert message in fault.message
    assert hint in fault.hint


def test_only_a_rail_that_judges_answers_can_ask_for_another_one(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    odd.add(monkeypatch)
    (fault,) = _faults(write("hold: sentence", "retry: {note: quiet, rails: [odd]}", more=odd.ENTRY))
    assert (fault.message, fault.hint) == ("`odd` judges no answers", "name a rail that does")


JUDGE = """\
  - {id: second, rail: judge, why: It looks again., model: guard, format: qwen3guard, user_say: care, say: no_secrets}
"""


def test_a_childs_words_are_judged_masked_or_not_at_all(write: Callable[..., Path]) -> None:
    found = [fault for fault in _faults(write(more=JUDGE)) if "judge" in fault.message]
    assert [(fault.message, fault.hint) for fault in found] == [
        (
            "a policy for children has no `judge` without a rail that masks",
            "a judge reads what a child said only masked: add a `pii` rail",
        )
    ]
    mask = "  - {id: mask, rail: pii, why: No data., entities: [PHONE_NUMBER], recognizers: ''}\n"
    assert load_policy(write(more=mask + JUDGE)).rails[-1].rail.asks == "guard"


def test_every_fault_is_reported_at_once_in_the_order_of_the_file(write: Callable[..., Path]) -> None:
    path = write("version: 3", "version: x")
    text = path.read_text("utf-8").replace("say: no_secrets", "say: secrets").replace("rail: clamp", "rail: clam")
    path.write_text(text.replace("languages: [en,", "languages: [fr, en,"), encoding="utf-8")
    found = _faults(path)
    assert [fault.line for fault in found] == sorted(fault.line for fault in found)
    assert {2, 8, 18, 62, 67} <= {fault.line for fault in found}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("# nothing\n", "the file is empty"),
        ("- a\n- b\n", "a policy is a mapping"),
        ("just words", "a policy is a mapping"),
    ],
)
def test_what_is_no_policy_at_all(write: Callable[..., Path], text: str, message: str) -> None:
    (fault,) = _faults(write(text=text))
    assert (fault.line, fault.column) == (1, 1)
    assert message in fault.message


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_bytes(b"policy: caf\xe9")
    (fault,) = _faults(path)
    assert fault.message == "not UTF-8 text: byte 11 cannot be read"


@pytest.mark.parametrize("removed", ["crisis", "stop"])
def test_a_policy_for_children_needs_crisis_first_and_stop(write: Callable[..., Path], removed: str) -> None:
    path = write()
    whole = path.read_text("utf-8")
    entry = re.search(rf"  - id: {removed}\n(?:    .*\n)+", whole)
    assert entry
    path.write_text(whole.replace(entry.group(), ""), encoding="utf-8")
    assert any(f"has a `{removed}` rail" in fault.message for fault in _faults(path))
    path.write_text(path.read_text("utf-8").replace("audience: child", "audience: adult"), encoding="utf-8")
    assert load_policy(path).audience == "adult"


def test_words_that_yaml_would_turn_into_something_else_stay_words(write: Callable[..., Path]) -> None:
    policy = load_policy(write('en: "Hm."', "en: [no, 1.10, 1:30, null]"))
    assert policy.say["sorry"]["en"] == ("no", "1.10", "1:30", "null")


def _faults(path: Path) -> list[Fault]:
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    return caught.value.faults
