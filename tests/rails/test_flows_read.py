"""A folder of flows, read: what comes out of a good one, and each fault of a bad one at its line."""

import os
import py_compile
from importlib.util import cache_from_source
from py_compile import PycInvalidationMode

import pytest

from proxy.turn import PolicyError
from rails._colang.folder import read
from rails._colang.nemo import parse_colang_file

SAY = 'define bot no\n  "Not that."\ndefine bot no (it)\n  "Questo no."\n'
ACTIONS = {"pii", "phrases"}


@pytest.fixture
def folder(tmp_path):
    """Writes the files of `policies/flows` and reads them, the flow `a` listed on the user's side."""
    flows = tmp_path / "flows"
    flows.mkdir()

    def written(files, **given):
        for name, text in {"say.co": SAY, **files}.items():
            path = flows / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        asked = {"input": ["a"], "output": [], "languages": ("en", "it"), "actions": ACTIONS, "lines": {"stop_here"}}
        return read(flows, tmp_path, **{**asked, "code": False, "judge": "", **given})

    return written


def faults(folder, files, **given):
    with pytest.raises(PolicyError) as raised:
        folder(files, **given)
    return raised.value.faults


GOOD = '''define flow a
  """Keeps other children's secrets. Told by the house."""
  $found = execute phrases(list="secrets", text=$user_message)
  if $found.found and $lang == "it"
    do b
    bot stop here
    stop
define subflow b
  $session.asked = "often"
  bot no
define subflow idle
  bot no
'''


def test_a_good_folder(folder):
    read = folder({"a.co": GOOD})
    assert read.input == ("a",)
    assert (read.output, read.slow_input, read.slow_output, read.dialog, read.stock) == ((), (), (), False, False)
    assert list(read.flows) == ["a", "b"]
    assert read.flows["a"].about == "Keeps other children's secrets."
    assert str(read.flows["b"].place) == "flows/a.co:8"
    assert (read.flows["a"].subflow, read.flows["b"].subflow) == (False, True)
    assert [element["_type"] for element in read.flows["b"].elements] == ["set", "run_action"]
    assert read.flows["b"].elements[0]["_source_mapping"]["line_number"] == 9
    assert read.messages["no"].texts == {"en": ("Not that.",), "it": ("Questo no.",)}
    assert read.messages["no"].fixed
    assert {"user_message", "lang", "session", "found"} <= read.variables
    assert {"often", "secrets", "it"} <= read.words
    assert [(note.file, note.line) for note in read.notes] == [("flows/a.co", 11)]  # nothing runs `idle`


def test_a_flow_is_what_nemo_makes_of_the_whole_file(folder):
    read = folder({"a.co": GOOD})
    whole = {flow["id"]: flow["elements"] for flow in parse_colang_file("flows/a.co", content=GOOD)["flows"]}
    for element in (element for elements in whole.values() for element in elements if "_source_mapping" in element):
        source = element["_source_mapping"]
        source["line_text"] = GOOD.splitlines()[source["line_number"] - 1]  # NeMo cuts its margin off
    assert read.flows["a"].elements == whole["a"]
    assert read.flows["b"].elements == whole["b"][1:]  # without the element that calls it a subflow


def test_a_flow_may_call_one_of_nemos(folder):
    read = folder({"a.co": "define flow a\n  do regex check input\n"}, lines={"refuse_to_respond"})
    assert (list(read.flows), list(read.functions)) == (["a", "regex check input"], ["detect_regex_pattern"])


def test_a_message_that_is_filled_in_is_not_fixed(folder):
    say = 'define bot hello\n  "Hi $name"\ndefine bot hello (it)\n  "Ciao {{ nome }}"\n'
    read = folder({"a.co": "define flow a\n  $name = 1\n  $nome = 1\n  bot hello\n" + say})
    assert not read.messages["hello"].fixed
    assert {"name", "nome"} <= read.variables


def test_what_is_written_for_other_languages_is_left_out(folder):
    read = folder({"a.co": "define flow a\n  bot no\n"}, languages=("en",))
    assert read.messages["no"].texts == {"en": ("Not that.",)}


A = "define flow a\n"
BAD = [  # the file, the line of the fault, a part of what is told
    (f"{A}  flub no\n", 2, "Unknown main token 'flub'"),
    (f"{A}  bot no\n  execute phrases(text=b)\n  stop\n", 3, "a parameter is a value or a variable"),
    (f"{A}  goto nowhere\n", 2, "nowhere"),
    (f"{A}  if $role\n    bot no\n  elif $lang\n    bot no\n", 4, "write `else if`"),
    (f"{A}  if $role == true\n    bot no\n", 2, "write `True`"),
    (f"{A}  if $history.append(3)\n    bot no\n", 2, "no method `.append(...)`"),
    (f"{A}  execute phrases([1])\n", 2, "a parameter is a value or a variable"),
    (f"{A}  bot no ($role)\n", 2, "takes no parameters"),
    (f'{A}  bot x\ndefine bot x\n  "x"\ndefine bot x (IT)\n  "x"\n', 5, "write `(it)`"),
    ("flow a\n  bot say x\n", 1, "nothing is defined in it"),
    (f"{A}  bot no\nbot no\n", 3, "belongs to no definition"),
    (f"{A}\tbot no\n", 2, "not with tabs"),
    (f'{A}  """never closed\n  bot no\n', 2, "nothing closes"),
    ("# nothing but\ndefine flow a\n# comments\n", 2, "has no lines"),
    (f"{A}  if $b\n", 2, "nothing stands under"),
    (f"{A}  if $b\n  bot no\n", 2, "nothing stands under"),
    (f"{A}  bot no\n    stop\n", 3, "stands deeper"),
    (f"{A}    bot no\n  bot no\n", 3, "lines up with no line"),
    (f"{A}  bot bad\ndefine bot bad\n  unquoted\n", 4, "one line in quotes"),
    (f'{A}  bot bad\ndefine bot bad\n  "two\n  lines"\n', 4, "one line in quotes"),
    (f'{A}  bot bad\ndefine bot bad\n  if $x\n    "one"\n', 4, "one line in quotes"),
    (f"{A}  if $b = 3\n    bot no\n", 2, "compare with `==`"),
    (f"{A}  $b = max($c)\n", 2, "no function `max`"),
    (f'{A}  if $b in ["x"]\n    bot no\n', 2, "has no list"),
    (f"{A}  if $b == yes\n    bot no\n", 2, "`yes` is no variable"),
    (f"{A}  if $b.__class__\n    bot no\n", 2, "cannot be read"),
    (f"{A}  execute phases(text=$b)\n", 2, "did you mean `phrases`?"),
    (f"{A}  execute phrases($b)\n", 2, "parameters have names"),
    (f"{A}  execute phrases(text=$session.b)\n", 2, "write `$it = $session.b` before"),
    (f"{A}  bot no\n  do bb\ndefine subflow bbb\n  bot no\n", 3, "did you mean `bbb`?"),
    (f"{A}  do $b\n", 2, "by its name"),
    (f"{A}  bot nno\n", 2, "did you mean `no`?"),
    (f'{A}  bot "straight out"\n', 2, "write the text under"),
    (f"{A}  while True\n    bot no\n", 2, "would never end"),
    (f"{A}  label x\n  if $b\n    goto x\n", 4, "use `while`"),
    (f"{A}  do a\n", 2, "leads back to `a`"),
    (f"{A}  do b\ndefine subflow b\n  do a\n", 4, "leads back to `b`"),
    (f"{A}  bot no\ndefine flow a\n  bot no\n", 3, "stands in flows/a.co:1 already"),
    (f'{A}  bot x\ndefine bot x\n  "one"\n  "  "\ndefine bot x (it)\n  "uno"\n', 3, "the message `x` has an empty text"),
    (f'{A}  bot x\ndefine bot x\n  "one"\ndefine bot x (it)\n  "uno"\ndefine bot x\n  "two"\n', 7, "in flows/a.co:3 already"),
    (f'{A}  bot half\ndefine bot half\n  "half"\n', 3, "no text in `it`"),
    (f'{A}  bot half\ndefine bot half (it)\n  "mezzo"\n', 3, "no text in `en`"),
    (f"{A}  user asks for secrets\n  bot no\n", 2, "cannot wait"),
    (f"{A}  $b = ...\n", 1, "asks a language model"),
    ("define flow b\n  user asks for secrets\n  bot no\n" + A + "  bot no\n", 1, "what the user means"),
    (f'{A}  bot no\ndefine user asks\n  "why?\n  "how?"\n', 4, "an example is one line"),
    (f'{A}  bot no\ndefine user"\n  "why?"\n', 3, "Unknown token"),
    (f"{A}  bot no\n\\\n  stop\n", 3, "nothing to join"),
    ("def flow a\n  bot no\ndefine flow b\n  bot no\n", 1, "belongs to no definition"),
    (b"define flow a\n  bot no\n# \xff\n", 3, "no UTF-8"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "told"), BAD, ids=[told for _, _, told in BAD])
def test_a_fault_stands_at_its_line(folder, text, line, told):
    found = [one for one in faults(folder, {"a.co": text}) if told in f"{one.message} {one.hint}"]
    assert [(one.file, one.line) for one in found][:1] == [("flows/a.co", line)]
    assert "0x" not in str(found[0])


def test_all_faults_are_told_at_once_and_none_that_follows_from_another(folder):
    found = faults(
        folder, {"a.co": "define flow a\n  flub\n", "b.co": "define flow b\n  do a\n  execute nix\n  bot nix\n"}
    )
    assert [(one.file, one.line) for one in found] == [("flows/a.co", 2), ("flows/b.co", 3), ("flows/b.co", 4)]


ALONE = [  # the file, the line of the only fault, a part of what is told
    (f"{A}  bot nno\n", 2, "there is no message `nno`"),  # and not that a model would have to write it
    (f'{A}  bot x\ndefine bot x\n  "x\ndefine bot x (it)\n  "y"\n', 4, "one line in quotes"),
    (f'{A}  bot x\ndefine bot x\n  "x"\ndefine bot x (IT)\n  "y"\n', 5, "small letters"),
    (f"{A}  if $role\n    bot no\n  elif $lang\n    bot no\n", 4, "no `elif`"),
]


@pytest.mark.parametrize(("text", "line", "told"), ALONE)
def test_a_fault_brings_no_others_with_it(folder, text, line, told):
    (found,) = faults(folder, {"a.co": text})
    assert (found.file, found.line) == ("flows/a.co", line)
    assert told in found.message


def test_texts_have_methods(folder):
    assert folder({"a.co": f'{A}  if "x" in $user_message.lower()\n    bot no\n'})


@pytest.mark.parametrize("call", ['note(key="calm")', "hold_whole"])
def test_what_bears_on_the_answer_comes_too_late_in_it(folder, call):
    late, called = f"{A}  bot no\n  do b\n", f"define subflow b\n  execute {call}\n"
    given = {"actions": {"note", "hold_whole"}, "input": [], "output": ["a"]}
    (found,) = faults(folder, {"a.co": late, "b.co": called}, **given)
    assert (found.file, found.line, found.hint) == ("flows/b.co", 2, "call it in a flow of the `input` list")
    assert folder({"a.co": late, "b.co": called}, **{**given, "input": ["b"]})


LISTED = [  # the policy's lists, the option that is at fault, and what is told
    ({"input": ["secrets", "secret"]}, ("input", 1), "did you mean `secrets`?"),
    ({"output": ["sercets"]}, ("output", 0), "did you mean `secrets`?"),
    ({"input": ["self check input"]}, ("input", 0), "judge: model-name"),
    ({"input": ["secrets"] * 41}, ("input",), "41 input flows"),
    ({}, ("folder",), "name the flows of this folder"),
]


@pytest.mark.parametrize(("listed", "option", "told"), LISTED)
def test_a_fault_of_the_policys_own_lists_is_told_of_the_option(folder, listed, option, told):
    files = {"a.co": "define flow secrets\n  bot no\n"}
    lists = {"input": None, "output": None, **listed}
    (found,) = faults(folder, files, lines={"refuse_to_respond"}, **lists)
    assert (found.file, found.option) == ("", option)
    assert told in f"{found.message} {found.hint}"


def many(number):
    return "".join(f"define flow f{n}\n  bot no\n" for n in range(number))


@pytest.mark.parametrize(
    ("text", "listed", "told"),
    [
        (many(401), ["f0"], "401 flows"),
        (many(1) + "\n" * 20_000, ["f0"], "lines"),
    ],
)
def test_there_are_limits(folder, text, listed, told):
    (found,) = faults(folder, {"a.co": text}, input=listed)
    assert found.file == "flows"
    assert told in found.message


@pytest.mark.parametrize("text", ["", "define", "define flow", "define bot x", '"', '"""', "define flow a\n  if", "\\"])
def test_scraps_end_in_faults_and_not_in_a_loop(folder, text):
    assert faults(folder, {"a.co": text})


def test_a_file_that_is_hidden_or_lies_elsewhere_is_not_read(folder, tmp_path):
    (tmp_path / "away.co").write_text("define flow b\n  flub\n")
    (tmp_path / "flows" / "link.co").symlink_to(tmp_path / "away.co")
    (tmp_path / "flows" / "..data").mkdir()  # how Kubernetes mounts a folder
    (tmp_path / "flows" / "..data" / "b.co").write_text("define flow b\n  bot no\n")
    (tmp_path / "flows" / "b.co").symlink_to(tmp_path / "flows" / "..data" / "b.co")
    assert list(folder({"a.co": "define flow a\n  bot no\n"}, output=["b"]).flows) == ["a", "b"]


# -- Python of the policy's own ----------------------------------------------------------------------------------------

MINE = """from nemoguardrails.actions import action
calls = []
@action(name="mine")
async def other_name(text: str) -> int:
    calls.append(1)
    return len(calls)
@action()
def plain():
    return 2
"""
USE = {"a.co": "define flow a\n  $n = execute mine(text=$user_message)\n  execute plain\n", "actions.py": MINE}


def test_code_is_not_run_unless_allowed(folder, tmp_path):
    trap = f"open({str(tmp_path / 'sprung')!r}, 'w')\n"
    found = faults(folder, {**USE, "actions.py": trap + MINE})
    assert [(one.line, "KINDRAIL_POLICY_CODE=1" in one.hint) for one in found] == [(2, True), (3, True)]
    (note,) = folder({"a.co": "define flow a\n  bot no\n"}).notes
    assert (note.file, note.message) == ("flows/actions.py", "actions.py is not run")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("code", [True, False])
def test_an_action_with_the_name_of_one_of_kindrails_is_a_fault(folder, code):
    (found,) = faults(folder, {"a.co": "define flow a\n  bot no\n", "actions.py": MINE}, actions={"mine"}, code=code)
    assert (found.file, found.line, found.hint) == ("flows/actions.py", 4, "give this one another name")


async def test_allowed_code_runs_and_shares_nothing(folder, tmp_path):
    one, two = folder(USE, code=True), folder(USE, code=True)
    assert await one.functions["mine"](text="x") == 1
    assert await one.functions["mine"](text="x") == 2
    assert await two.functions["mine"](text="x") == 1
    assert one.functions["plain"]() == 2
    assert not [*tmp_path.rglob("__pycache__")]


LATER = """from __future__ import annotations
from dataclasses import dataclass
from nemoguardrails.actions import action
@action()
def plain():
    @dataclass
    class Made:
        number: int = 2
    return Made().number
"""


def test_code_finds_its_own_module_for_as_long_as_it_lives(folder):
    files = {"a.co": "define flow a\n  execute plain\n", "actions.py": LATER}
    assert folder(files, code=True).functions["plain"]() == 2


@pytest.mark.parametrize("mode", PycInvalidationMode)
async def test_what_runs_is_the_file_itself_and_no_compiled_one_beside_it(folder, tmp_path, mode):
    planted = tmp_path / "flows" / "planted.py"
    folder({**USE, "planted.py": MINE.replace("return 2", "return 3")}, code=True)
    at = cache_from_source(str(tmp_path / "flows" / "actions.py"))
    os.utime(planted, (1, 1))
    os.utime(tmp_path / "flows" / "actions.py", (1, 1))
    py_compile.compile(str(planted), at, invalidation_mode=mode)
    assert folder({}, code=True).functions["plain"]() == 2


@pytest.mark.parametrize(
    ("code", "line", "told"),
    [("x = 1\n1/0\n", 2, "ZeroDivisionError"), ("def (\n", 1, "SyntaxError"), ("import not_there\n", 1, "not_there")],
)
def test_code_that_does_not_run_is_a_fault_at_its_line(folder, code, line, told):
    found = faults(folder, {"a.co": "define flow a\n  bot no\n", "actions/more.py": code}, code=True)
    assert [(one.file, one.line) for one in found] == [("flows/actions/more.py", line)]
    assert told in found[0].message


def test_an_action_of_the_policy_that_asks_a_model_makes_its_flow_slow(folder):
    code = "from nemoguardrails.actions import action\n@action()\nasync def ask(llm): pass\n"
    files = {"a.co": "define flow a\n  execute ask\n", "actions.py": code}
    read = folder(files, code=True, judge="small")
    assert (read.input, read.slow_input) == ((), ("a",))
    assert "the judge `small`" in read.notes[0].message


def test_dialog_flows_need_a_judge(folder):
    files = {"a.co": 'define flow a\n  bot no\ndefine user asks\n  "why?"\ndefine flow d\n  user asks\n  bot no\n'}
    read = folder(files, judge="small")
    assert (read.dialog, read.config.user_messages, list(read.flows)) == (True, {"asks": ["why?"]}, ["a"])
    assert [(note.line, "`small`" in note.message) for note in read.notes] == [(5, True)]
    assert "judge: model-name" in faults(folder, files)[0].hint
