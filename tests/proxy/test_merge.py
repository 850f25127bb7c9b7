"""Verdicts to one effect: who has the word, what is covered, whether it ends."""

import pytest

from proxy.merge import merge
from proxy.turn import Act, Span, Verdict

PASS, DROP = Verdict(), Verdict(Act.DROP)
NAME, MAIL = Span(0, 3, "PERSON"), Span(5, 9, "EMAIL")
REDACT, REDACT_MORE = Verdict(Act.REDACT, (NAME,)), Verdict(Act.REDACT, (MAIL,))
REPLACE, END = Verdict(Act.REPLACE, say="line"), Verdict(Act.END, say="bye")


@pytest.mark.parametrize(
    ("verdicts", "winner", "spans", "ends", "won"),
    [
        ([], None, (), False, []),
        ([PASS, PASS], None, (), False, [True, True]),
        ([PASS, REDACT, REDACT_MORE], None, (NAME, MAIL), False, [True, True, True]),
        ([REDACT, REPLACE], 1, (NAME,), False, [False, True]),
        ([REPLACE, DROP], 0, (), False, [True, False]),
        ([DROP, REPLACE], 0, (), False, [True, False]),
        ([END, REPLACE], 0, (), True, [True, False]),
        ([REPLACE, REDACT, END], 0, (NAME,), True, [True, False, True]),  # the end is heeded, and no redaction is lost
    ],
)
def test_merge(verdicts, winner, spans, ends, won):
    effect = merge(verdicts)
    assert (effect.winner, effect.spans, effect.ends) == (winner, spans, ends)
    assert [effect.won(index, verdict) for index, verdict in enumerate(verdicts)] == won
