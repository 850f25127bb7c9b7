"""A flow reads data and calls methods of texts: nothing that it writes reaches an object's own methods, or all memory."""

import pytest

from proxy.turn import PolicyError
from rails._colang.context import Context, Conversation, FlowFault
from rails._colang.expressions import evaluate
from rails._colang.messages import Text
from rails._colang.nemo import RailOutcome, RailsConfig
from rails._colang.sandbox import METHODS
from rails._colang.script import Message, Place

PLACE = Place("house.co", 3)
LONG = "ab" * 20_000


@pytest.fixture
def context(tmp_path):
    """What flows may find, and a text that runs a shell where it is unpickled."""
    config = RailsConfig(
        models=[], rails={"config": {"injection_detection": {"injections": ["xss"], "action": "omit"}}}
    )
    return Context(
        config=config, event={"type": "x", "text": "A fox"}, word="A fox", long=LONG, list=["a", "b"], n=3, keys="entry",
        session={"asked": 2, "items": 1}, history=Conversation(()), outcome=RailOutcome.block(metadata={"why": "b"}),
        shell=f"cos\nsystem\n(S'touch {tmp_path / 'sprung'}'\ntR.",
    )  # fmt: skip


READ = [
    ("$config.rails.config.injection_detection.action", "omit"),
    ("$config.enable_rails_exceptions", False),
    ("$config.bot_messages", {}),
    ("$event.text", "A fox"),
    ("$session.items", 1),  # the entry, no method
    ("$session.missing", None),
    ("$outcome.is_blocked and not $outcome.failed", True),
    ("$outcome.metadata.get('why')", "b"),  # as in NeMo's library
    ("$outcome.transform_text", {}),
    ("$word.lower().replace('fox', 'bear').split()", ["a", "bear"]),
    ("f'{$word}!' + 'x' * 3", "A fox!xxx"),
    ("$n % 2 + $n ** 2", 10),
]
REFUSED = [
    "$config.parse_raw($shell, proto='pickle', allow_pickle=True)",
    "$config.parse_raw",
    "$config.from_path('/etc')",
    "$config.model_fields",
    "$config.model_dump_json()",
    "$config.__class__",
    "$outcome.allow()",
    "$outcome.__class__",
    "$history._heard",
    "$history.count(1)",
    "$list.append(1)",
    "$session.keys()",
    "$session.get('asked', 1)",
    "$word.format(1)",
    "$word.lower",
    "$word.encode()",
    "$n.real",
    "len.__self__",
    # too much
    "$long * 1000",
    "$list * 1000000",
    "$long.split('x') * 6",
    "$long.replace('a', $long)",
    "($long + $long).replace('a', 'bcdefgh')",
    "'%900000000d' % 1",
    "b'%900000000d' % 1",
    "f'{$n:900000000}'",
    "f'{$long}{$long}{$long}{$long}{$long}{$long}'",
    "9 ** 9 ** 9",
    "4000000 ** 4000000",
    "(1 << 9999) * (1 << 9999)",
]


@pytest.mark.parametrize(("text", "value"), READ)
def test_what_an_expression_may_read(context, text, value):
    assert evaluate(text, context) == value


@pytest.mark.parametrize("text", REFUSED)
def test_what_an_expression_may_not_do(context, tmp_path, text):
    with pytest.raises(Exception, match="Error evaluating"):
        evaluate(text, context)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_that_lint_lets_pass_is_one_of_texts(method):
    given = {"count": "'a'", "endswith": "'a'", "find": "'a'", "startswith": "'a'", "replace": "'a', 'b'"}
    assert evaluate(f"$word.{method}({given.get(method, '')})", {"word": "abc"}) is not None


def rendered(text, context):
    return Text({"en": [text]}, PLACE).render(context, "en", 0)


SAID = [
    ("{{ word.lower() }}, $n and $session.asked", "a fox, 3 and 2"),
    ("{{ list | join(', ') }} {{ list | length }}", "a, b 2"),
    ("{{ session['asked'] * 2 }}{{ session.missing }}{{ session['keys'] }}", "4"),
    ("{{ outcome.metadata.why }} {{ event.text }} {{ config.enable_rails_exceptions }}", "b A fox False"),
]
UNSAYABLE = [  # while it is filled in
    "{{ config.parse_raw }}", "{{ config.model_fields }}", "{{ config.__class__ }}", "{{ word.format }}",
    "{{ list.append }}", "{{ self.__init__ }}", "{{ word * 99999999 }}", "{{ '%9999999d' % 1 }}", "{{ 9 ** 9999999 }}",
    "{{ list | join(long) | join(long) }}", "{{ session['keys'].x }}", "{{ n.lower() }}", "{{ list.count('a') }}",
]  # fmt: skip
UNWRITABLE = [  # when the policy is loaded
    ("{{ config.parse_raw(shell, proto='pickle', allow_pickle=True) }}", "it calls `parse_raw(...)`"),
    ("{{ config.from_path('/etc') }}", "it calls `from_path(...)`"),
    ("{{ range(9) }}", "it calls `range(...)`"),
    ("{{ word.format(1) }}", "it calls `format(...)`"),
    ("{{ word['lower']() }}", "it calls `(...)`"),
    ("{{ word | attr('lower') }}", "No filter named 'attr'"),
    ("{{ 'a' | center(900000000) }}", "No filter named 'center'"),
    ("{{ '%900000000d' | format(1) }}", "No filter named 'format'"),
    ("{% if n %}x{% endif %}", "it has `{% ... %}`"),
    ("$word {% for a in list %}{% endfor %}", "it has `{% ... %}`"),
]


@pytest.mark.parametrize(("text", "said"), SAID)
def test_what_a_message_may_say(context, text, said):
    assert rendered(text, context) == said


@pytest.mark.parametrize("text", UNSAYABLE)
def test_what_a_message_may_not_say(context, text):
    text = Text({"en": [text]}, PLACE)
    with pytest.raises(Exception, match=r"cannot be|number|too (long|large)|no attribute|no element"):
        text.render(context, "en", 0)


@pytest.mark.parametrize(("text", "told"), UNWRITABLE)
def test_a_message_that_does_what_it_may_not_is_refused_at_its_place(text, told):
    with pytest.raises(PolicyError) as caught:
        Text({"en": [text]}, PLACE)
    (fault,) = caught.value.faults
    assert (fault.file, fault.line, told in fault.message, bool(fault.hint)) == ("house.co", 3, True, True)


def test_a_message_of_blocks_alone_is_looked_at_too():
    assert not Message("x", PLACE, {"en": ("{% if 1 %}x{% endif %}",)}).fixed


def test_a_message_is_no_longer_than_an_answer(context):
    assert len(rendered("{{ long.replace('b', '') }}", context)) == 20_000
    with pytest.raises(FlowFault, match="longer than 20000 characters"):
        rendered("$long", context)


async def test_a_nemo_configuration_runs_no_code_through_its_own_variables(colang, judge, tmp_path):
    """There `$config` may be read: it is one of NeMo's variables."""
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "config.yml").write_text("models: []\n")
    shell = f"cos\nsystem\n(S'touch {tmp_path / 'sprung'}'\ntR."
    call = '$config.parse_raw($user_message, proto="pickle", allow_pickle=True)'
    for name in ("config", "event"):
        with pytest.raises(PolicyError, match=r"no method `\.parse_raw"):
            colang(f"define subflow x\n  $x = {call.replace('config', name)}\n", input=["x"])
    reads = colang("define subflow x\n  if $config.parse_raw\n    stop\n", input=["x"])
    with pytest.raises(FlowFault, match=r"flow `x` \(flows/house.co:2\): `\$config.parse_raw` cannot be computed"):
        await judge(reads, shell, role="user")
    assert not (tmp_path / "sprung").exists()
