"""A NeMo configuration as it stands: its lists, its library, its models, and what Kindrail does not take over."""

import pytest

from proxy.turn import PolicyError
from rails._colang import stock
from rails._colang.folder import read

CONFIG = """models:
  - type: main
    engine: openai
    model: some-model
    api_key_env_var: A_KEY_THAT_NOBODY_HAS
rails:
  input:
    flows:
      - regex check input
      - house rule
  output:
    flows:
      - injection detection
  config:
    regex_detection:
      input:
        patterns: ["secret plan"]
    injection_detection:
      injections: [code]
      action: reject
"""
RULE = 'define flow house rule\n  if $user_message == "x"\n    bot no\n    stop\ndefine bot no\n  "Not here."\n'
JUDGED = """rails:
  input:
    flows:
      - self check input
prompts:
  - task: self_check_input
    content: "May this be answered? {{ user_input }}"
"""


@pytest.fixture
def folder(tmp_path):
    """Writes the files of a configuration and reads it."""
    flows = tmp_path / "nemo"

    def written(files, **given):
        for name, text in files.items():
            (flows / name).parent.mkdir(parents=True, exist_ok=True)
            (flows / name).write_text(text)
        asked = {"input": None, "output": None, "languages": ("en", "it"), "actions": set(), "lines": set()}
        return read(flows, tmp_path, **{**asked, "code": False, "judge": "", **given})

    return written


def faults(folder, files, **given):
    with pytest.raises(PolicyError) as raised:
        folder(files, **given)
    return [(one.file, one.line, f"{one.message} {one.hint}") for one in raised.value.faults]


def test_it_works_unchanged(folder):
    read = folder({"config.yml": CONFIG, "rails/rule.co": RULE})
    assert read.stock
    assert (read.input, read.output) == (("regex check input", "house rule"), ("injection detection",))
    assert (read.slow_input, read.slow_output, read.dialog) == ((), (), False)
    assert str(read.flows["regex check input"].place) == "nemoguardrails/library/regex/flows.v1.co:6"
    assert str(read.flows["house rule"].place) == "nemo/rails/rule.co:1"
    assert {"detect_regex_pattern", "injection_detection"} <= read.functions.keys()
    assert read.config.rails.config.regex_detection.input.patterns == ["secret plan"]
    assert read.messages["refuse to respond"].texts.keys() == {"en"}
    assert read.messages["no"].texts == {"en": ("Not here.",)}
    assert (read.config.models, read.config.config_path) == ([], None)
    noted = [(note.file, note.line) for note in read.notes]
    assert ("nemo/config.yml", 9) in noted  # NeMo's English message
    assert ("nemo/rails/rule.co", 5) in noted  # the message has no Italian


async def test_a_library_action_runs(folder):
    read = folder({"config.yml": CONFIG, "rule.co": RULE})
    detect = read.functions["detect_regex_pattern"]
    for text, blocked in (("the secret plan", True), ("a kite", False)):
        assert (await detect(source="input", text=text, config=read.config)).is_blocked is blocked


def test_the_policy_may_name_the_flows_itself(folder):
    read = folder({"config.yml": CONFIG, "rule.co": RULE}, input=["house rule"], output=[])
    assert (read.input, read.output) == (("house rule",), ())
    assert read.config.rails.input.flows == ["house rule"]


def test_a_line_of_the_policy_is_said_instead_of_nemos(folder):
    read = folder({"config.yml": CONFIG, "rule.co": RULE}, lines={"refuse_to_respond"})
    assert "refuse to respond" not in read.messages


def test_kindrails_own_action_stands_in_for_nemos(folder):
    config = "rails:\n  input:\n    flows: [detect sensitive data on input]\n"
    read = folder({"config.yml": config}, actions={"detect_sensitive_data"})
    assert read.input == ("detect sensitive data on input",)
    assert read.functions == {}


def test_what_needs_a_model_is_slow_and_noted_where_it_is_listed(folder):
    read = folder({"config.yml": JUDGED}, judge="small", languages=("en",))
    assert (read.input, read.slow_input) == ((), ("self check input",))
    assert [(note.file, note.line, note.message) for note in read.notes] == [
        (
            "nemo/config.yml",
            4,
            "the flow `self check input` asks a language model: it runs through NeMo's own path with the judge `small`",
        )
    ]
    assert [(model.type, model.model, model.api_key_env_var) for model in read.config.models] == [
        ("main", "small", None)
    ]
    assert "mask blocked user input" in read.flows  # it is called by `do`, and stands in another file of NeMo's


def test_without_a_judge_it_is_a_fault(folder):
    assert faults(folder, {"config.yml": JUDGED})[0][:2] == ("nemo/config.yml", 4)
    assert "judge: model-name" in faults(folder, {"config.yml": JUDGED})[0][2]


def test_a_message_without_a_text_is_written_by_a_model(folder):
    files = {
        "config.yml": "rails:\n  input:\n    flows: [greet]\n",
        "a.co": "define flow greet\n  bot greet the user\n",
    }
    assert folder(files, judge="small").slow_input == ("greet",)


def test_the_kind_of_model_that_a_flow_names_is_the_judge_too(folder):
    config = """models:
  - type: content_safety
    engine: nim
    model: theirs
rails:
  input:
    flows: [content safety check input $model=content_safety]
prompts:
  - task: content_safety_check_input $model=content_safety
    content: "Is this safe? {{ user_input }}"
"""
    read = folder({"config.yml": config}, judge="small")
    assert read.slow_input == ("content safety check input $model=content_safety",)
    assert [(model.type, model.model) for model in read.config.models] == [
        ("main", "small"),
        ("content_safety", "small"),
    ]


def test_a_flow_that_sends_texts_elsewhere_is_noted(folder):
    read = folder({"config.yml": "rails:\n  input:\n    flows:\n      - mask pii on input\n"})
    assert ("nemo/config.yml", 4, "the flow `mask pii on input` sends texts to another service: Private AI API") in [
        (note.file, note.line, note.message) for note in read.notes
    ]


def test_rails_that_are_not_of_this_house_are_noted(folder):
    config = "rails:\n  retrieval:\n    flows: [x]\n  tool_input:\n    flows: [y]\ntracing:\n  enabled: true\n"
    read = folder({"config.yml": config, "config.py": "1/0"}, languages=("en",))
    assert [(note.file, note.line) for note in read.notes] == [
        ("nemo/config.yml", 3), ("nemo/config.yml", 5), ("nemo/config.yml", 7), ("nemo/config.py", 1),
    ]  # fmt: skip
    assert not read.config.tracing.enabled


@pytest.mark.parametrize(
    ("config", "line", "told"),
    [
        ("rails: [\n", 2, "no YAML"),
        ("- rails\n", 1, "a mapping"),
        ("rails:\n  input:\n    flows:\n      - regex check imput\n", 4, "did you mean `regex check input`?"),
        ("rails:\n  config:\n    regex_detection: 3\n", 3, "regex_detection"),
        ("rails:\n  input:\n    flows: [self check input]\n", 3, "self check input"),
        ("rails: 3\n", 1, "rails"),
        ("rails:\n  input: 3\n", 2, "input"),
        ("rails:\n  input:\n    flows: 3\n", 3, "flows"),
        ("models: 3\n", 1, "mixed up"),
        ("models: [3]\n", 1, ""),
        ('colang_version: "2.x"\n', 1, "1.0 only"),
        ("import_paths: [/etc]\n", 1, "other folders"),
        ("actions_server_url: http://127.0.0.1:9\n", 1, "sent every text"),
    ],
)
def test_a_fault_of_the_configuration_stands_at_its_line(folder, config, line, told):
    if config == "models: [3]\n":
        assert folder({"config.yml": config}).config.models == []  # no model of theirs is ever asked
        return
    file, at, message = faults(folder, {"config.yml": config})[0]
    assert (file, at) == ("nemo/config.yml", line)
    assert told in message


def test_nothing_of_nemos_own_library_is_beyond_the_reader():
    for name in stock.library_flows() - {"clavata check for"}:  # that one is Colang 2 only
        assert any(flow.id == name for script in stock.library(name) for flow in script.flows), name
        assert not [fault for script in stock.library(name) for fault in script.faults], name
