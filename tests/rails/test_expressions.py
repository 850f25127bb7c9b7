"""Expressions give what NeMo's own function gives, and fail where it fails."""

import weakref

import pytest
from nemoguardrails.colang.v1_0.runtime.eval import eval_expression

from rails._colang.context import Context, FlowFault
from rails._colang.expressions import evaluate

CONTEXT = {
    "n": 3, "none": None, "yes": True, "word": "fox", "list": [1, 2], "session": {"asked": 2, "deep": {"x": 1}},
    "history": [{"role": "user", "text": "a fox"}], "rails": {"crisis": {}},
}  # fmt: skip
EXPRESSIONS = [
    "1", "$n", "$n + 1", "$n > 2 and $yes", "not $none", "$missing", "$missing is None", "$session.asked == 2",
    "$session.deep.x", "$session.none", "$session['asked']", "len($list)", "len($history) > 0", "$history[-1].text",
    "$history[0]['role']", '"fox" in $word', "$word.upper()", "$rails.crisis.at != None and $n - $rails.crisis.at < 5",
    "$n if $yes else 0", '"$n"', "($n, 2)", "$n == 3 or $missing.at", "True", '"a" + $word', "$list[0:1]", "$n_n", "$nn",
    # and what fails
    "$n +", "$n = 3", "open('x')", "[x for x in $list]", "{'a': 1}", "$none + 1", "$list[9]", "",
    "lambda: 1", '"a" * 1000000', "$session.asked.x.y",
]  # fmt: skip


def outcome(function, text):
    try:
        return type(value := function(text, CONTEXT)).__name__, value
    except Exception as error:
        return type(error).__name__, str(error)


@pytest.mark.parametrize("text", [*EXPRESSIONS, 3, True, None])
def test_as_nemo_evaluates(text):
    assert outcome(evaluate, text) == outcome(eval_expression, text) == outcome(evaluate, text)


def test_one_expression_sees_each_time_the_variables_of_its_own_check():
    values = [evaluate("$n == $other.x", {"n": n, "other": {"x": 2}}) for n in (1, 2, 3)]
    assert values == [False, True, False]
    assert evaluate("$n == $other", {"n": None}) is True  # nothing is left of the check before


class Words(str):
    """A text whose end can be seen."""


@pytest.mark.parametrize("text", ["$said == 3", "$said.lower() and 1", "$said + 1", "$said[99]"])
def test_nothing_that_was_said_is_kept(text):
    said = Words("my own words")
    gone = weakref.ref(said)
    outcome = []
    try:
        outcome.append(type(evaluate(text, {"said": said})))
    except Exception as error:
        outcome.append(type(error))
    del said
    assert len(outcome) == 1
    assert gone() is None


def test_what_reads_without_end_is_told_as_such():
    context = Context(n=1)
    with pytest.raises(FlowFault, match="it never ends"):
        [evaluate("$n + 1", context) for _ in range(10_000)]


def test_nemos_machine_uses_it():
    from nemoguardrails.colang.v1_0.runtime import flows, sliding

    import rails._colang.nemo  # noqa: F401

    assert sliding.eval_expression is flows.eval_expression is evaluate
