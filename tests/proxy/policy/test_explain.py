"""What `explain` says: sentence by sentence, over a conversation, and as JSON."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import odd
import orjson
import pytest

from proxy.policy import Policy, load_policy
from proxy.policy.explain import as_json, conversation, explain
from proxy.policy.report import explained


async def test_an_answer_sentence_by_sentence(tiny: Policy) -> None:
    (answer,) = await explain(tiny, [("assistant", "Ciao! Come ti chiami? Uno. Due. Tre.")])
    assert [(one.text, one.sent, [finding.rail for finding in one.findings]) for one in answer.sentences] == [
        ("Ciao! ", "Ciao!", []),
        ("Come ti chiami? ", " Non me lo devi dire.", ["asks-private"]),
        ("Uno. ", " Uno.", []),
        ("Due. ", "", ["clamp"]),
        ("Tre.", None, []),
    ]
    assert answer.outcome.text == "Ciao! Non me lo devi dire. Uno."
    assert answer.outcome.language == "it"


async def test_a_conversation_remembers(tiny: Policy) -> None:
    talk = conversation(["user: ciao, basta!", "", "# later", "user: boh", "- assistant: Vuoi giocare? Ciao."])
    stop, later, answer = await explain(tiny, talk)
    assert (stop.outcome.asked, stop.outcome.text) == (False, "Va bene, ciao!")
    assert (later.outcome.asked, later.outcome.steer) == (True, ("Stai calmo.",))
    assert answer.outcome.text == "Ciao."


async def test_in_words(tiny: Policy) -> None:
    messages = await explain(tiny, [("user", "ciao"), ("assistant", "Ciao! Come ti chiami? Uno. Due. Tre.")])
    assert list(explained(tiny, messages)) == [
        f"tiny@3 ({tiny.digest[:12]})",
        "",
        "user (it)",
        ' 1 "ciao"  nothing to say',
        '   the model reads: "ciao"',
        "",
        "assistant (it)",
        ' 1 "Ciao! "            nothing to say',
        ' 2 "Come ti chiami? "  asks-private   replaced   asks: matched a phrase of the list: "Come ti chiami"',
        '                    -> "Non me lo devi dire."',
        ' 3 "Uno. "             nothing to say',
        f' 4 "Due. "             clamp          ended      {messages[1].sentences[3].findings[0].verdict.why}',
        ' 5 "Tre."              not reached: the answer has ended',
        '   sent: "Ciao! Non me lo devi dire. Uno."',
    ]


@pytest.mark.parametrize("line", ["hello", "system: be kind", "user:", "user"])
def test_a_conversation_names_the_line_it_cannot_read(line: str) -> None:
    with pytest.raises(ValueError, match="line 2"):
        conversation(["user: hi", line])


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ({"role": "user", "text": "hello"}, {"act": "pass", "text": "hello", "verdicts": [], "flags": []}),
        (
            {"role": "user", "text": "I want to hurt myself"},
            {"act": "end", "text": "Please tell a grown-up.", "ids": ["crisis"], "flags": ["alert", "review"]},
        ),
        ({"role": "user", "text": "basta", "lang": "ko"}, {"act": "end", "text": "알겠어, 안녕!", "ids": ["stop"]}),
        (
            {"role": "assistant", "text": "Hi! 😀 Come ti chiami?"},
            {"act": "replace", "ids": ["asks-private"], "spans": [{"start": 6, "end": 20, "entity": "ASKS"}]},
        ),
        (
            {"role": "assistant", "text": "Okay. Want to play?", "user": "stop"},
            {"act": "drop", "text": "Okay.", "ids": ["stop"]},
        ),
        (
            {"role": "assistant", "text": "One. Two. Three. Four."},
            {"act": "end", "text": "One. Two. Three.", "ids": ["clamp"]},
        ),
    ],
)
async def test_a_line_of_json(tiny: Policy, asked: dict[str, str], answer: dict[str, Any]) -> None:
    got = orjson.loads(await as_json(tiny, orjson.dumps(asked)))
    assert list(got) == ["act", "text", "verdicts", "flags"]
    got["ids"] = [verdict["id"] for verdict in got["verdicts"]]
    got["spans"] = [span for verdict in got["verdicts"] for span in verdict["spans"]]
    assert {key: got[key] for key in answer} == answer
    assert all(list(verdict) == ["id", "rail", "act", "why", "spans"] for verdict in got["verdicts"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'"hi"', "a line is an object of texts"),
        (b'{"role":"user","text":1}', "a line is an object of texts"),
        (b'{"role":"tool","text":"x"}', "`role` (user or assistant) and `text` are needed"),
        (b'{"role":"user"}', "`role` (user or assistant) and `text` are needed"),
        (b'{"role":"user","text":"x","language":"en"}', "unknown field `language`; there are role, text, lang, user"),
        (b'{"role":"user","text":"x","settings":"on"}', '`settings` is an object of texts, such as {"bedtime": "on"}'),
        (b'{"role":"user","text":"x","settings":{"bedtime":true}}', "`settings` is an object of texts"),
        (b'{"role":"user","text":"x","settings":{"bedtime":"on"}}', "the policy has no setting of this name"),
        (b'{"role":"user","text":"x","lang":"fr"}', "`lang` is one of en, it, ko"),
    ],
)
async def test_a_line_that_is_no_question(tiny: Policy, line: bytes, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below, as it is
        await as_json(tiny, line)
    assert message in str(caught.value)


@pytest.fixture
def strange(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Policy:
    """The tiny policy with the odd rail."""
    odd.add(monkeypatch)
    (tmp_path / "flows").mkdir()
    return load_policy(write(more=odd.ENTRY + "    folder: flows\n    settings: [bedtime]\n"))


@pytest.mark.parametrize(("settings", "act"), [({}, "pass"), ({"bedtime": "off"}, "pass"), ({"bedtime": "on"}, "end")])
async def test_a_line_of_json_with_settings(strange: Policy, settings: dict[str, str], act: str) -> None:
    got = orjson.loads(await as_json(strange, orjson.dumps({"role": "user", "text": "hello", "settings": settings})))
    assert got["act"] == act


async def test_what_a_rail_notes_holds_and_writes(strange: Policy) -> None:
    said = [("user", "softly, please"), ("assistant", "One. Two."), ("user", "go backwards")]
    _, note, _, *shown = explained(strange, await explain(strange, said))
    assert "needs a model" in note  # what a trial passes over
    assert shown == [
        "user (en)",
        ' 1 "softly, please"  odd            noted      it asks for calm (note: quiet)',
        '   the model reads: "softly, please"',
        '   with the note: "Stay calm."',
        "   its answer is held: message",
        "",
        "assistant (en)",
        ' 1 "One. Two."  nothing to say',  # one piece, as it was judged
        '   sent: "One. Two."',
        "",
        "user (en)",
        ' 1 "go backwards"  odd            replaced   turned round (writes "sdrawkcab og")',
        '                -> "sdrawkcab og"',
        '   the model reads: "sdrawkcab og"',
    ]


async def test_an_answer_that_is_held_is_shown_as_it_was_judged(strange: Policy) -> None:
    talk = conversation(["user: softly, please", "assistant: Hi. What's your name? Three."])
    _, held = await explain(strange, talk)
    assert [(one.text, one.sent) for one in held.sentences] == [
        ("Hi. What's your name? Three.", "You need not tell me.")
    ]
    _, free = await explain(strange, [("user", "hello"), talk[1]])
    assert [one.text for one in free.sentences] == ["Hi. ", "What's your name? ", "Three."]


async def test_turns_are_a_second_apart_and_have_a_history(strange: Policy) -> None:
    talk = conversation(["user: hello", "assistant: One.", "user: and", "user: now"])
    *_, last = await explain(strange, talk, settings={})
    assert last.outcome.text == "Hush now."
    assert last.outcome.findings[0].verdict.why == "turns at [0.0, 1.0, 2.0], 3 messages before"
    (first,) = await explain(strange, [("user", "hello")], settings={"bedtime": True})
    assert first.outcome.text == "Hush now."
