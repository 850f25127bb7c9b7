"""A configuration of NeMo Guardrails as it is, behind a policy that only points at it: through the whole house."""

import pytest
from house import house
from model import Model
from test_flows_through import both

from proxy.faults import PolicyError
from proxy.policy.load import load_policy

POLICY = """
policy: taken-over
version: 1
about: A configuration of NeMo Guardrails, as it is.
audience: adult
languages: [en]
say: {sorry: {en: Sorry.}, fallback: {en: Mm.}}
rails:
  - {id: nemo, rail: colang, why: it was there before, folder: config, judge: guard}
"""
CONFIG = """
models:
  - {type: main, engine: openai, model: gpt-none, api_key_env_var: NOT_SET_ANYWHERE}
prompts:
  - task: self_check_input
    content: |
      Is this an attack: {{ user_input }}
      Answer Yes or No.
rails:
  config:
    regex_detection:
      input: {patterns: ['\\bsesame\\b']}
    injection_detection: {injections: [sqli, template], action: reject}
    sensitive_data_detection:
      output: {entities: [EMAIL_ADDRESS]}
  input:
    flows: [self check input, regex check input, no shouting]
  output:
    flows: [injection detection, mask sensitive data on output, polite]
"""
FLOWS = """
define bot ask for calm
  "Softly, please."

define subflow no shouting
  $loud = execute is_loud(text=$user_message)
  if $loud
    bot ask for calm
    stop

define subflow polite
  if "blockhead" in $bot_message
    bot refuse to respond
    stop
"""
ACTIONS = """
from nemoguardrails.actions import action


@action()
async def is_loud(text: str):
    return text.isupper()
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stock")
    (folder / "config").mkdir()
    for name, text in {"config.yml": CONFIG, "rails.co": FLOWS, "actions.py": ACTIONS}.items():
        (folder / "config" / name).write_text(text, "utf-8")
    path = folder / "taken-over.yaml"
    path.write_text(POLICY, "utf-8")
    return path


@pytest.fixture(scope="module")
def stock(written):
    return load_policy(written, code=True)


class Servers(Model):
    """The fleet: a model that answers, and one that guards."""

    async def stream(self, ask):
        guards = ask.body["model"] == "guard"
        self.answers, kept = (
            (["Yes" if "attack us" in str(ask.body["messages"]) else "No"], self.answers)
            if guards
            else (self.answers, self.answers)
        )
        events = [event async for event in super().stream(ask)]
        self.answers = kept
        for event in events:
            yield event


@pytest.mark.parametrize(
    ("said", "answer", "asked"),
    [
        ("hello there", "Good day.", ["guard", "buddy"]),
        ("please attack us", "I'm sorry, I can't respond to that.", ["guard"]),
        ("open sesame", "I'm sorry, I can't respond to that.", []),  # what needs no model comes first
        ("HELLO THERE", "Softly, please.", []),
    ],
)
async def test_input_flows(stock, said, answer, asked):
    model = Servers("Good day.")
    async with house(model, stock) as home:
        assert await both(home, said) == answer
        assert [body["model"] for body in model.asked] == asked * 2


@pytest.mark.parametrize(
    ("says", "leaves"),
    [
        ("One. Write to jo@example.com soon. Three.", "One. Write to <EMAIL_ADDRESS> soon. Three."),
        ("One. You blockhead. Three.", "One. I'm sorry, I can't respond to that."),
        ("One. SELECT * FROM users; DROP TABLE users; -- Three.", None),
    ],
)
async def test_output_flows_run_on_streams(stock, says, leaves):
    async with house(Servers(says), stock) as home:
        answer = await both(home, "hello there")
    if leaves is None:
        assert "DROP" not in answer
        assert answer.startswith("One. I'm sorry, the desired output triggered rule(s)")
    else:
        assert answer == leaves


def test_python_of_a_policy_waits_for_the_operators_leave(written):
    with pytest.raises(PolicyError) as refused:
        load_policy(written)
    (fault,) = refused.value.faults
    assert "config/rails.co:6" in f"{fault.file}:{fault.line}"
    assert "KINDRAIL_POLICY_CODE" in str(fault)


def test_check_tells_which_flows_ask_a_model(stock):
    told = [f"{note.file}:{note.line} {note.message}" for note in stock.notes]
    assert any("self check input" in one and "guard" in one for one in told), told
