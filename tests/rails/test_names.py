"""A name that nothing sets is a fault at its line, and never an empty value that switches a rule off."""

import inspect

import pytest

from proxy.turn import House, PolicyError
from rails._colang import variables
from rails._colang.actions import ANSWERS, Actions
from rails._colang.folder import read
from rails._colang.names import GIVEN as GIVEN_NAMES

GIVEN = {
    "session": ("bedtime", "classroom"), "values": {"calm_for": 60, "word": "x"}, "rails": ("after-care", "after_care"),
}  # fmt: skip
SETS = """\
define flow a
  $secret = execute phrases(list="secrets", text=$user_message)
  $session.asked = True
  $either = execute phrases(list="secrets", text=$user_message)
  $either = $history
  $made = execute other
  do b
"""
READS = "define subflow b\n"  # line 8; what stands under it is line 9
CONFIG = "rails:\n  input:\n    flows: [a]\n"


@pytest.fixture
def flows(tmp_path):
    """Reads a folder of the flow above and another one with this line."""

    def written(line="stop", more="", files=(), **given):
        (tmp_path / "a.co").write_text(
            f"{SETS}{READS}  {line}\n    stop\n{more}" if line[:2] == "if" else f"{SETS}{READS}  {line}\n{more}"
        )
        for name, text in dict(files).items():
            (tmp_path / name).write_text(text)
        asked = {"input": ["a"], "output": [], "languages": ("en",), "lines": (), "code": False, "judge": ""}
        actions = {"phrases", "other"}
        return read(
            tmp_path, tmp_path.parent, **{**asked, "actions": actions, "given": GIVEN, "answers": ANSWERS, **given}
        )

    return written


WRONG = [  # a line, and what is told
    ("execute phrases(text=$usermessage)", "nothing sets `$usermessage`", "did you mean `user_message`?"),
    ("if $secrt.found", "nothing sets `$secrt`", "did you mean `secret`?"),
    ("if $secret.fnd", "`$secret` has no `fnd`", "did you mean `found`?"),
    ("if $session.bedtme", "`$session` has no `bedtme`", "did you mean `bedtime`?"),
    ("if $session.askd", "`$session` has no `askd`", "did you mean `asked`?"),
    ("if $rails.after_cre.at", "`$rails` has no `after_cre`", "did you mean `after_care`?"),
    ("if $history[0].txt", "`$history` has no `txt`", "did you mean `text`?"),
    ("if $now > $values.calm_fr", "`$values` has no `calm_fr`", "did you mean `calm_for`?"),
    ("if $values.zzz", "`$values` has no `zzz`", "there is calm_for, word"),
    ("$x = $y", "nothing sets `$y`", ""),
    ("if $config", "nothing sets `$config`", ""),
    ("bot $usermessage", "nothing sets `$usermessage`", "did you mean `user_message`?"),
]


@pytest.mark.parametrize(("line", "message", "hint"), WRONG)
def test_a_name_that_nothing_sets_is_a_fault(flows, line, message, hint):
    with pytest.raises(PolicyError) as raised:
        flows(line)
    (found,) = raised.value.faults
    assert (found.file.endswith("/a.co"), found.line, found.column) == (True, 9, 3)
    assert (found.message, found.hint) == (message, hint)


RIGHT = [
    "if $secret.found and $session.asked and $session.bedtime",
    "if $rails.after_care.at and $values.word.lower()",
    "if $history[-1].role == $role and len($history)",
    "if $either.anything and $made.anything",
    'if "$nothing" == "costs $money"',
    "$session.count = $session.count + 1",
]


@pytest.mark.parametrize("line", RIGHT)
def test_a_name_that_something_sets_is_none(flows, line):
    assert flows(line).notes == ()


def test_a_variable_of_a_message_is_a_name_too(flows):
    with pytest.raises(PolicyError) as raised:
        flows("bot greet", 'define bot greet\n  "Hi $nmae"\n')
    (found,) = raised.value.faults
    assert (found.line, found.message) == (10, "nothing sets `$nmae`")


def test_a_flow_of_nemos_may_set_a_variable(flows):
    more = "define flow c\n  do regex check input\n"
    assert flows("if $response", more, input=["a", "c"], lines={"refuse_to_respond"})
    with pytest.raises(PolicyError, match=r"nothing sets `\$response`"):
        flows("if $response")


def test_a_parameter_of_the_list_is_set(flows):
    assert flows("if $size", input=["a $size=small"])


def test_an_action_of_the_policys_own_may_set_a_variable(flows):
    code = 'from nemoguardrails.actions import action\n@action()\ndef f():\n    return {"mood": 1}\n'
    assert flows("if $mood", files={"actions.py": code}, code=True)


def test_in_a_configuration_of_nemos_it_is_a_note(flows):
    noted = [
        (note.line, note.message) for note in flows("if $config and $bot_mesage", files={"config.yml": CONFIG}).notes
    ]
    assert noted == [(9, "nothing sets `$bot_mesage`")]


def test_what_cannot_be_read_may_set_what_others_read(flows):
    with pytest.raises(PolicyError) as raised:
        flows("if $x", "define subflow c\n  $x = 3\n  flub\n")
    assert [found.line for found in raised.value.faults] == [13]


def test_what_is_given_is_what_a_check_makes():
    made = {*variables._MAKERS, "user_message", "bot_message", "session", "rails", "values"}
    assert made == GIVEN_NAMES


def test_the_answers_of_all_actions_are_known(tmp_path):
    table = Actions(House(("en",), {}, tmp_path)).table
    assert ANSWERS.keys() == table.keys()
    for name, call in table.items():
        assert all(f'"{field}":' in inspect.getsource(call) for field in ANSWERS[name])
        assert (inspect.signature(call).return_annotation == "None") == (not ANSWERS[name])
