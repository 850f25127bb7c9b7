"""The command line: what it prints, and its exit codes."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import odd
import pytest
from typer.testing import CliRunner, Result

from proxy.cli import app
from proxy.config import KeyEntry, load_config
from proxy.keyring import SHAPE, hashed

POLICY = """\
policy: short
version: 2
about: Short answers.
audience: adult
languages: [en, it]
say:
  sorry: {en: Sorry., it: Scusa.}
  fallback: {en: Yes., it: Sì.}
rails:
  - id: clamp
    rail: clamp
    why: Short answers.
    sentences: 2
    tests:
      trips:
        - {assistant: "One. Two. Three.", becomes: "One. Two."}
      passes:
        - {assistant: "One."}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "short.yaml").write_text(POLICY, encoding="utf-8")
    return tmp_path


def run(folder: Path, *arguments: str, typed: str = "") -> Result:
    return CliRunner().invoke(app, arguments, input=typed, env={"KINDRAIL_POLICIES": str(folder)})


@pytest.mark.parametrize("chosen", [[], ["short"], ["{folder}"], ["{folder}/short.yaml"]])
def test_check_names_each_policy(folder: Path, chosen: list[str]) -> None:
    result = run(folder, "check", *(one.format(folder=folder) for one in chosen))
    assert (result.exit_code, result.stdout) == (0, "short@2  1 rail, 2 tests\n")


def test_check_shows_every_fault_and_the_good_policies_too(folder: Path) -> None:
    (folder / "bad.yaml").write_text(POLICY.replace("sentences: 2", "sentnces: 2"), encoding="utf-8")
    result = run(folder, "check")
    assert result.exit_code == 1
    assert f"{folder}/bad.yaml:13:5: `sentnces` is not a field of the clamp rail" in result.stdout
    assert f"{folder}/bad.yaml:1:9: the policy is called `short`" in result.stdout
    assert "short@2  1 rail, 2 tests" in result.stdout


DANGER = """\
  - {id: crisis, rail: crisis, why: Danger., kinds: {emergency: {phrases: smoke, say: sorry}}}
phrases: {smoke: {en: [smoke], it: [fumo]}}
"""


@pytest.mark.parametrize(
    ("settings", "code", "told"),
    [
        ("policy: short", 0, "stderr"),
        ("{policy: short, keys_in_store: true}", 1, "stdout"),
        ("{policy: other, keys: []}", 0, ""),
        ("{policy: short, keys_in_store: true, safeguarding_webhook: 'https://alerts.example.org'}", 0, ""),
    ],
)
def test_check_wants_somebody_to_be_told_of_danger(folder: Path, settings: str, code: int, told: str) -> None:
    (folder / "short.yaml").write_text(POLICY + DANGER, encoding="utf-8")
    (folder / "kindrail.conf").write_text(settings)
    result = run(folder, "check", "--config", str(folder / "kindrail.conf"))
    words = "safeguarding_webhook is not set: nobody is told of the children in danger that `short` would hear"
    assert result.exit_code == code
    assert [stream for stream in ("stdout", "stderr") if words in getattr(result, stream)] == [told][: bool(told)]


def test_test_passes_and_fails(folder: Path) -> None:
    result = run(folder, "test")
    assert (result.exit_code, result.stdout) == (0, "short@2  passed: 2 tests (en 2)\n")
    (folder / "short.yaml").write_text(POLICY.replace('"One. Two."', '"One."'), encoding="utf-8")
    result = run(folder, "test", "short")
    assert result.exit_code == 1
    assert "short@2  1 failure: 2 tests (en 2)" in result.stdout
    assert f"{folder}/short.yaml:16: clamp: becomes 'One. Two.' instead of 'One.'" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "shrt"], "did you mean `short`?"),
        (["test", "nowhere/x.yaml"], "no policy `nowhere/x.yaml`"),
        (["explain", "hi", "--policy", "shrt"], "did you mean `short`?"),
        (["explain"], "give one of a sentence, --conversation and --jsonl"),
        (["explain", "hi", "--jsonl", "--policy", "short"], "give one of"),
        (["explain", "hi", "--policy", "short", "--lang", "ko"], "short@2 speaks en, it"),
        (["explain", "--jsonl", "--policy", "short", "--user", "x"], "it goes with a sentence"),
        (["explain", "hi", "--policy", "short", "--set", "bedtime=on"], "no setting of this name; it has none"),
        (["explain", "--jsonl", "--policy", "short", "--set", "a=on"], "each line has `settings` of its own"),
        (["explain", "--conversation", "no-such-file", "--policy", "short"], "no-such-file cannot be read"),
        (["serve", "--port", "99999999"], "--port"),
        (["nonsense"], "nonsense"),
    ],
)
def test_wrong_use_is_two(folder: Path, arguments: list[str], message: str) -> None:
    result = run(folder, *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())


def test_a_folder_without_policies_is_two(tmp_path: Path) -> None:
    assert run(tmp_path, "check").exit_code == 2


def test_faults_end_the_other_verbs_with_one(folder: Path) -> None:
    (folder / "short.yaml").write_text("policy: short\n", encoding="utf-8")
    for arguments in (["test"], ["explain", "hi", "--policy", "short"]):
        result = run(folder, *arguments)
        assert result.exit_code == 1
        assert "short.yaml:1:1: `version` is missing" in result.stderr


def test_explain_a_sentence(folder: Path) -> None:
    result = run(folder, "explain", "One. Two. Three.", "--as", "assistant", "--policy", "short")
    assert result.exit_code == 0
    assert 'sent: "One. Two."' in result.stdout


def test_explain_a_conversation_from_a_file_or_the_standard_input(folder: Path) -> None:
    talk = "user: Hello, what is it?\nassistant: One. Two. Three.\n"
    (folder / "talk.txt").write_text(talk, encoding="utf-8")
    from_file = run(folder, "explain", "--conversation", str(folder / "talk.txt"), "--policy", "short")
    typed = run(folder, "explain", "--conversation", "-", "--policy", "short", typed=talk)
    assert from_file.exit_code == 0
    assert from_file.stdout == typed.stdout
    assert 'the model reads: "Hello, what is it?"' in typed.stdout
    assert run(folder, "explain", "--conversation", "-", "--policy", "short", typed="hm\n").exit_code == 2


def test_explain_lines_of_json(folder: Path) -> None:
    good = '{"role": "assistant", "text": "One. Two. Three."}\n'
    result = run(folder, "explain", "--jsonl", "--policy", "short", typed=good)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["text"] == "One. Two."
    result = run(folder, "explain", "--jsonl", "--policy", "short", typed=f"{good}no\n{good}")
    first, second, third = map(json.loads, result.stdout.splitlines())
    assert result.exit_code == 1
    assert second == {"error": "line 2: not valid JSON"}
    assert first == third


@pytest.fixture
def odder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with a rail that brings a line, a note and settings."""
    odd.add(monkeypatch)
    (folder / "flows").mkdir()
    more = f"{odd.ENTRY}    folder: flows\n    settings: [bedtime, school]\n"
    steer = "steer:\n  quiet: {en: Calmly., it: Calma.}\nrails:"
    (folder / "short.yaml").write_text(POLICY.replace("rails:", steer) + more, encoding="utf-8")
    return folder


def test_check_tells_notes_and_finds_no_fault_in_them(odder: Path) -> None:
    result = run(odder, "check")
    assert (result.exit_code, result.stdout) == (0, "short@2  2 rails, 2 tests\n  flows/a.co:9:1: needs a model\n")


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ([], True),
        (["--set", "bedtime=off"], True),
        (["--set", "bedtime=on"], False),
        (["--set", "bedtime"], False),
        (["--set", "school=maths", "--set", "bedtime=yes"], False),
    ],
)
def test_explain_with_what_the_app_has_set(odder: Path, given: list[str], asked: bool) -> None:
    result = run(odder, "explain", "Hello", "--policy", "short", *given)
    assert result.exit_code == 0
    assert ("the model is not asked" in result.stdout) is not asked


@pytest.mark.parametrize("verb", [["check"], ["test"], ["explain", "Hello", "--policy", "short"]])
@pytest.mark.parametrize(
    ("flag", "environment", "allowed"),
    [([], {}, False), (["--code"], {}, True), ([], {"KINDRAIL_POLICY_CODE": "true"}, True)],
)
def test_code_of_policies_runs_only_where_it_is_allowed(
    odder: Path,
    monkeypatch: pytest.MonkeyPatch,
    verb: list[str],
    flag: list[str],
    environment: dict[str, str],
    allowed: bool,
) -> None:
    file = odder / "short.yaml"
    file.write_text(f"{file.read_text('utf-8')}    file: code\n", encoding="utf-8")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    result = run(odder, *verb, *flag)
    assert result.exit_code == (0 if allowed else 1)
    assert ("the house allows no code" in result.output) is not allowed


# Keys


@pytest.fixture
def keys(data: Path) -> Callable[..., Result]:
    """Runs `kindrail key`, with the embedded store in a folder of its own."""
    environment = {"KINDRAIL_DATA": str(data), "KINDRAIL_KEYS_IN_STORE": "true"}
    return lambda *arguments: CliRunner().invoke(app, ["key", *arguments], env=environment)


def test_a_key_is_shown_once_with_its_entry(keys: Callable[..., Result], tmp_path: Path) -> None:
    options = "--tenant home --policy general --model buddy* --model small --header x-trace --policy-choice kids-*"
    limits = "--allow image --requests 60 --tokens 9000 --concurrency 4 --body 2048"
    result = keys("new", "tablet", *options.split(), *limits.split())
    key, _, entry = result.stdout.partition("\n")
    assert result.exit_code == 0
    assert result.output.count(key) == 1
    file = tmp_path / "kindrail.yaml"
    file.write_text(entry, encoding="utf-8")
    (read,) = load_config(file, {}).keys
    assert read == KeyEntry.model_validate({
        "id": "tablet", "hash": hashed(key), "tenant": "home", "policy": "general", "models": ["buddy*", "small"],
        "headers": ["x-trace"], "policies": ["kids-*"], "allow": ["image"],
        "limits": {"requests": 60, "tokens": 9000, "concurrency": 4, "body": 2048},
    })  # fmt: skip
    listed = keys("list", "--config", str(file))
    assert (listed.exit_code, listed.stdout) == (0, "tablet  tenant home  policy general\n")


def test_keys_are_put_into_the_store_listed_and_revoked(keys: Callable[..., Result]) -> None:
    made = keys("new", "tablet", "--tenant", "home", "--store")
    assert made.exit_code == 0
    assert SHAPE.fullmatch(made.output.strip())  # the key and nothing else
    again = keys("new", "tablet", "--store")
    assert (again.exit_code, again.stdout) == (2, "")
    assert "revoke it first" in again.stderr
    assert keys("list", "--store").output == "tablet  tenant home  policy (the general one)\n"
    assert keys("list").output == ""
    assert "opens nothing" in keys("revoke", "tablet", "--store").output
    assert keys("list", "--store").output == ""
    missing = keys("revoke", "tablet", "--store")
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "no key `tablet` in Redis" in missing.stderr


def test_a_key_of_the_file_is_revoked_by_hand(keys: Callable[..., Result], tmp_path: Path) -> None:
    file = tmp_path / "kindrail.yaml"
    entries = [{"id": id, "hash": hashed(id)} for id in ("phone", "tablet")]
    file.write_text(json.dumps({"keys": entries}), encoding="utf-8")
    told = keys("revoke", "tablet", "--config", str(file))
    assert (told.exit_code, told.stdout) == (1, "")
    assert f"delete keys[1], `tablet`, from {file}" in told.stderr
    missing = keys("revoke", "robot", "--config", str(file))
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "no key `robot` in the configuration; with --store" in missing.stderr
    assert json.loads(file.read_text("utf-8")) == {"keys": entries}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["new", "Tablet 7"], "id: "),
        (["new", "tablet", "--requests", "0"], "limits.requests: "),
        (
            ["new", "tablet", "--allow", "image", "--allow", "audoi"],
            "allow[1]: is nothing that a key can open: did you",
        ),
        (["new", "tablet", "--header", "Cookie"], "headers[0]: never reaches the model server"),
        (["new", "tablet", "--policy", "nonsense"], "policy: there is no 'nonsense' in "),
        (["new", "tablet", "--policy", "nonsense", "--store"], "there are: general, kids-buddy, observe"),
        (["new", "tablet", "--policy-choice", "gen*", "--policy-choice", "x*"], "policies[1]: 'x*' matches none in "),
        (["new", "tablet", "--config", "{folder}/none.yaml", "--store"], "none.yaml: cannot be read"),
        (["list", "--config", "{folder}/none.yaml"], "none.yaml: cannot be read"),
        (["new"], "Missing argument"),
    ],
)
def test_a_key_that_cannot_be_made_is_told_of(
    keys: Callable[..., Result], tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = keys(*(one.format(folder=tmp_path) for one in arguments))
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_keys_in_a_store_that_nobody_asks_are_warned_of(data: Path) -> None:
    result = CliRunner().invoke(app, ["key", "new", "tablet", "--store"], env={"KINDRAIL_DATA": str(data)})
    assert result.exit_code == 0
    assert "keys_in_store" in result.stderr
    assert SHAPE.fullmatch(result.stdout.strip())


def test_the_configuration_file_can_be_named_in_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "kindrail.yaml"
    file.write_text("port: 99999999\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["serve"], env={"KINDRAIL_CONFIG": str(file)})
    assert result.exit_code == 2
    assert f"{file}: port" in result.output


def test_the_policies_of_a_key_are_those_of_the_configured_folder(folder: Path, tmp_path: Path) -> None:
    settings = {"KINDRAIL_POLICIES": str(folder)}
    made = CliRunner().invoke(app, ["key", "new", "tablet", "--policy", "short"], env=settings)
    assert made.exit_code == 0
    settings["KINDRAIL_POLICIES"] = str(tmp_path / "none")
    lost = CliRunner().invoke(app, ["key", "new", "tablet", "--policy", "short"], env=settings)
    assert (lost.exit_code, lost.stdout) == (2, "")
    assert "no policy" in lost.stderr


# What the pages tell to type

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TYPED = re.compile(r"^\$ (?:\w+=\S+ )*(?:\.venv/bin/)?kindrail (.*)|`(?:\.venv/bin/)?kindrail ([^`]+)`", re.MULTILINE)


def typed(page: str) -> list[list[str]]:
    """The arguments of every `kindrail` command on the page; what a shell takes for itself is left out."""
    lines = ["".join(found) for found in TYPED.findall(page)]
    return [shlex.split(line.partition(" < ")[0], comments=True) for line in lines]


def understood(arguments: list[str]) -> str:
    """What the command line has to say against these arguments, before it does anything; empty: nothing."""
    result = CliRunner().invoke(app, [*arguments, "--help"])
    return "" if result.exit_code == 0 else result.output


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_on_the_pages_is_understood(page: Path) -> None:
    found = typed(page.read_text("utf-8"))
    assert {" ".join(one): understood(one) for one in found if understood(one)} == {}
    assert page.name != "README.md" or len([one for one in found if one[0] == "key"]) >= 3


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("$ kindrail key revoke tablet --store   # gone", False),
        ("$ A=b .venv/bin/kindrail explain --jsonl < lines", False),
        ("so `kindrail key revoke tablet --stoer` takes it", True),
        ("$ kindrail key remove tablet", True),
        ("$ kindrail srve", True),
    ],
)
def test_a_command_that_there_is_not_would_be_seen(line: str, wrong: bool) -> None:
    (arguments,) = typed(line)
    assert bool(understood(arguments)) is wrong
