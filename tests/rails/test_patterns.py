"""NeMo's action over patterns answers as NeMo's does, and a pattern that is too slow is a fault that nobody waits for."""

import asyncio
from time import process_time

import pytest

from proxy.turn import PolicyError, RailFault
from rails._colang.nemo import RailsConfig
from rails._colang.patterns import NAMES, Patterns, bound
from rails._colang.script import Flow, Place
from rails._colang.stock import library_action

CONFIG = r"""
rails:
  config:
    regex_detection:
      input:
        patterns: ['\bsesame\b', 'secret\s+\w+', '(?:[0-9]{4}-){3}[0-9]{4}']
      output:
        case_insensitive: true
        patterns: ["blockhead", 'città', '바보']
      retrieval:
        patterns: ['draft \{[0-9]+\}']
"""
SLOW = "(a|aa)+$"
FLOWS = {
    "mine": Flow("mine", "", Place("x.co", 1), [{"_type": "run_action", "action_name": NAMES[0]}], True),
    "other": Flow("other", "", Place("x.co", 9), [{"_type": "run_action", "action_name": "note"}], True),
}


def config(text=CONFIG):
    return RailsConfig.from_content(yaml_content=text)


def of_input(pattern):
    return config(f"rails: {{config: {{regex_detection: {{input: {{patterns: ['{pattern}']}}}}}}}}")


def action(written, folder):
    return Patterns(written, folder, folder).table["detect_regex_pattern"]


TEXTS = [
    ("input", "open sesame now", [r"\bsesame\b"]),
    ("input", "open sesame, secret door", [r"\bsesame\b", r"secret\s+\w+"]),
    ("input", "open Sesame", []),
    ("input", "1234-1234-1234-1234", ["(?:[0-9]{4}-){3}[0-9]{4}"]),
    ("input", "you blockhead", []),
    ("input", "", []),
    ("input", "la " * 1000 + "sesame", [r"\bsesame\b"]),
    ("output", "You BLOCKHEAD", ["blockhead"]),
    ("output", "CITTÀ", ["città"]),
    ("output", "너는 바보야", ["바보"]),
    ("output", "open sesame", []),
    ("retrieval", "draft {12}", [r"draft \{[0-9]+\}"]),
    ("retrieval", "the book", []),
]


@pytest.mark.parametrize(("source", "text", "found"), TEXTS)
async def test_it_answers_as_nemo_does(tmp_path, source, text, found):
    outcome = await action(config(), tmp_path)(source=source, text=text)
    assert outcome == await library_action(NAMES[0])(source=source, text=text, config=config())
    assert outcome.metadata["detections"] == found
    assert outcome.is_blocked is (bool(found) and source != "retrieval")
    assert outcome.transform_text == ({"relevant_chunks": ""} if found and source == "retrieval" else {})


@pytest.mark.parametrize("written", ["rails: {}", "rails: {config: {regex_detection: null}}"])
async def test_without_patterns_all_passes(tmp_path, written):
    outcome = await action(config(written), tmp_path)("input", "open sesame")
    assert not outcome.is_blocked


# -- time --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [60, 2000])
async def test_a_slow_pattern_is_a_fault_and_others_go_on(tmp_path, length):
    went_on = 0

    async def another():
        nonlocal went_on
        while True:
            await asyncio.sleep(0.005)
            went_on += 1

    other = asyncio.create_task(another())
    await asyncio.sleep(0)
    begun = process_time()
    with pytest.raises(RailFault, match="pattern 1 of `regex_detection` took too long") as fault:
        await action(of_input(SLOW), tmp_path)("input", "a" * length + "!")
    seconds = process_time() - begun
    other.cancel()
    assert seconds < 0.9  # of work, whatever else the machine does
    assert went_on > 10
    assert "aaa" not in str(fault.value)
    assert fault.value.__cause__ is None


async def test_what_stalls_nemos_own_action_is_judged_at_once(tmp_path):
    begun = process_time()
    outcome = await action(of_input(r"^(\w+\s?)+$"), tmp_path)("input", "a" * 28 + "!")
    assert not outcome.is_blocked
    assert process_time() - begun < 1


# -- at load -----------------------------------------------------------------------------------------------------------

UNUSABLE = [
    ("(?:sesame){e<=1}", "typing errors"),
    (r"\\{e}", "typing errors"),
    ("x{2i+1d<=4}", "typing errors"),
    ("a{s}", "typing errors"),
    ("[[:digit:]]+", "a class of characters"),
    ("/users/{id}", "cannot be run with a time limit"),
]


@pytest.mark.filterwarnings("ignore:Possible nested set:FutureWarning")
@pytest.mark.parametrize(("pattern", "message"), UNUSABLE)
def test_what_re_reads_in_another_way_is_a_fault_at_its_line(tmp_path, pattern, message):
    text = CONFIG.replace("[\"blockhead\", 'città', '바보']", f"[fine,\n          '{pattern}']")
    (tmp_path / "stock").mkdir()
    (tmp_path / "stock" / "config.yml").write_text(text, "utf-8")
    with pytest.raises(PolicyError) as refused:
        bound(FLOWS, config(text), tmp_path / "stock", tmp_path)
    (fault,) = refused.value.faults
    assert (fault.file, fault.line) == ("stock/config.yml", 10)
    assert pattern in fault.message
    assert message in fault.message
    assert fault.hint


@pytest.mark.parametrize("pattern", [r"\{e\}", r"\{\{.*\}\}", "a{2,3}", "{name}", "x[:;]"])
def test_what_both_read_alike_is_taken(tmp_path, pattern):
    assert set(bound(FLOWS, of_input(pattern), tmp_path, tmp_path)) == set(NAMES)


def test_nothing_is_built_where_no_flow_asks(tmp_path):
    assert bound({"other": FLOWS["other"]}, None, tmp_path, tmp_path) == {}
