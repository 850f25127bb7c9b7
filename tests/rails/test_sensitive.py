"""NeMo's sensitive-data actions find and mask with our engine what its configuration names, and say what they do not."""

import pytest

from proxy.turn import Fault
from rails._colang.folder import Flow, Place
from rails._colang.nemo import RailsConfig
from rails._colang.sensitive import Sensitive, bound
from rails._presidio import SlowPattern

CONFIG = """\
rails:
  config:
    sensitive_data_detection:
      recognizers:
        - name: badge numbers
          supported_language: en
          supported_entity: BADGE
          patterns:
            - {name: badge, regex: 'badge-[a-z]{4}', score: 0.7}
        - name: mascots
          supported_language: en
          supported_entity: MASCOT
          deny_list: [Pippo, 뽀로로]
      input:
        score_threshold: 0.4
        entities:
          - EMAIL_ADDRESS
          - PHONE_NUMBER
          - CREDIT_CARD
          - BADGE
          - MASCOT
          - PERSON
      output:
        entities: [EMAIL_ADDRESS, LOCATION]
"""
FLOWS = {
    "mask": Flow("mask", "", Place("x.co", 1), [{"_type": "run_action", "action_name": "mask_sensitive_data"}], True),
    "other": Flow("other", "", Place("x.co", 9), [{"_type": "run_action", "action_name": "note"}], True),
}


def config(text=CONFIG):
    return RailsConfig.from_content(yaml_content=text)


@pytest.fixture(scope="module")
def actions():
    return Sensitive(config()).table


FOUND = [
    ("input", "write to tom@school.local please", "write to <EMAIL_ADDRESS> please"),
    ("input", "il mio numero è 347 123 4567", "il mio numero è <PHONE_NUMBER>"),
    ("input", "카드 번호는 4111 1111 1111 1111이야", "카드 번호는 <CREDIT_CARD>이야"),
    ("input", "tom@school.local o 347 123 4567?", "<EMAIL_ADDRESS> o <PHONE_NUMBER>?"),
    ("input", "my badge-abcd is lost", "my <BADGE> is lost"),
    ("input", "Pippo ha una badge-wxyz", "<MASCOT> ha una <BADGE>"),
    ("input", "my name is Anna", None),
    ("input", "오늘 공원에 갔어", None),
    ("output", "scrivi a tom@school.local", "scrivi a <EMAIL_ADDRESS>"),
    ("output", "my badge-abcd is lost", None),
    ("output", "4111 1111 1111 1111", None),
]


@pytest.mark.parametrize(("source", "text", "masked"), FOUND)
async def test_found_and_masked(actions, source, text, masked):
    detected = await actions["detect_sensitive_data"](source, text)
    assert detected.is_blocked is (masked is not None)
    assert detected.metadata == {"has_sensitive_data": masked is not None}
    outcome = await actions["mask_sensitive_data"](source, text)
    assert outcome.is_transform is (masked is not None)
    variable = {"input": "user_message", "output": "bot_message"}[source]
    assert outcome.transform_text == ({variable: masked} if masked else {})
    assert outcome.metadata == {"source": source, "text": text, "masked_text": masked or text}


async def test_a_long_text_is_masked_too(actions):
    outcome = await actions["mask_sensitive_data"]("input", "la " * 2000 + "tom@school.local")
    assert outcome.transform_text["user_message"].endswith("la <EMAIL_ADDRESS>")


async def test_data_that_overlap_are_masked_once():
    """The configuration's own pattern reaches further than ours, and is surer."""
    text = "regex: 'badge-[a-z]{4}', score: 0.7"
    actions = Sensitive(config(CONFIG.replace(text, "regex: 'tom@school[.]local now', score: 0.9"))).table
    outcome = await actions["mask_sensitive_data"]("input", "ask tom@school.local now!")
    assert outcome.transform_text == {"user_message": "ask <BADGE>!"}


@pytest.mark.parametrize(
    ("threshold", "blocked"),
    [("0.4", True), ("0.69", True), ("0.75", False)],
)
async def test_what_scores_less_than_the_threshold_does_not_count(threshold, blocked):
    changed = config(CONFIG.replace("score_threshold: 0.4", f"score_threshold: {threshold}"))
    outcome = await Sensitive(changed).table["detect_sensitive_data"]("input", "my badge-abcd")
    assert outcome.is_blocked is blocked


async def test_what_is_masked_is_surer_than_what_is_found():
    unsure = Sensitive(
        config(CONFIG.replace("score: 0.7", "score: 0.3").replace("threshold: 0.4", "threshold: 0.2"))
    ).table
    assert (await unsure["detect_sensitive_data"]("input", "my badge-abcd")).is_blocked
    assert not (await unsure["mask_sensitive_data"]("input", "my badge-abcd")).is_transform


async def test_a_pattern_that_takes_too_long_raises():
    slow = Sensitive(config(CONFIG.replace("badge-[a-z]{4}", "(a|aa)+$"))).table
    with pytest.raises(SlowPattern):
        await slow["detect_sensitive_data"]("input", "a" * 60 + "!")


# -- at load -----------------------------------------------------------------------------------------------------------


def test_what_is_not_looked_for_is_told_with_its_line(tmp_path):
    (tmp_path / "config.yml").write_text(f"# no PERSON, no LOCATION\n{CONFIG}", "utf-8")
    table, notes = bound(FLOWS, config(), tmp_path, "stock")
    assert set(table) == {"detect_sensitive_data", "mask_sensitive_data"}
    assert [(one.file, one.line, one.snippet.strip()) for one in notes] == [
        ("stock/config.yml", 23, "- PERSON"),
        ("stock/config.yml", 25, "entities: [EMAIL_ADDRESS, LOCATION]"),
    ]
    assert [one.column for one in notes] == [13, 35]
    assert all(isinstance(one, Fault) and "`pii` rail" in one.hint for one in notes)


def test_nothing_is_built_where_no_flow_asks(tmp_path):
    assert bound({"other": FLOWS["other"]}, None, tmp_path, "stock") == ({}, ())


BAD = [
    ("rails:\n  config:\n    sensitive_data_detection:\n", "is empty"),
    (CONFIG.replace("regex: 'badge-[a-z]{4}'", "regex: '('"), "the recognizer badge numbers"),
    (CONFIG.replace("deny_list: [Pippo, 뽀로로]", "dany_list: [Pippo]"), "the recognizer mascots"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_a_configuration_that_cannot_work_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        Sensitive(config(text))
