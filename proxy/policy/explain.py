"""What a policy does with a text, and which rail said so: for people, and as lines of JSON for scripts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import orjson

from proxy.answer import Piece
from proxy.judged import Finding
from proxy.policy.model import Policy
from proxy.policy.trial import Outcome, Talk, speaks
from proxy.segments import Segmenter
from proxy.settings import values
from proxy.turn import Act, Hold

Side = Literal["user", "assistant"]

_STRENGTH = ("pass", "steer", "redact", "drop", "replace", "end")  # the mildest first, as `act` names them
_SAID = re.compile(r"\s*(?:-\s+)?(user|assistant):\s*(.*)")
_FIELDS = {"role", "text", "lang", "user"}  # texts; `settings` is an object of texts


@dataclass(frozen=True, slots=True)
class Sentence:
    """One segment: its text, what is sent on in its place (None: the answer had ended before it), and who said what."""

    text: str
    sent: str | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Explained:
    """One message of a conversation, sentence by sentence."""

    role: Side
    outcome: Outcome
    sentences: tuple[Sentence, ...]


async def explain(
    policy: Policy,
    messages: Sequence[tuple[Side, str]],
    language: str = "",
    settings: Mapping[str, object] = MappingProxyType({}),
) -> list[Explained]:
    """The messages of one conversation in turn; what the rails remember goes from one turn to the next.

    settings: what the app has set, for all of it.
    """
    explained: list[Explained] = []
    talk = Talk(policy, settings)
    for role, text in messages:
        if role == "user" or not explained or explained[-1].role == "assistant":
            talk.begin(text, language)
        outcome = await (talk.hear(text) if role == "user" else talk.answer([text]))
        sentences = _whole(text, outcome) if role == "user" else _sentences(talk.line.hold, policy, text, outcome)
        explained.append(Explained(role, outcome, tuple(sentences)))
    return explained


def _whole(text: str, outcome: Outcome) -> Iterator[Sentence]:
    yield Sentence(text, outcome.text, outcome.findings)


def _sentences(hold: Hold, policy: Policy, text: str, outcome: Outcome) -> Iterator[Sentence]:
    """The answer as the segmenter cuts it, each piece with what left for it."""
    segmenter = Segmenter(hold, policy.hold_max)
    start = 0
    judged = max((piece.end for piece in outcome.pieces), default=0)
    for cut in [*segmenter.feed(text), *segmenter.finish()]:
        end = start + len(cut.text)
        findings = tuple(finding for finding in outcome.findings if finding.start == start)
        sent = [_sent(text, piece) for piece in outcome.pieces if start < piece.end <= end]
        yield Sentence(cut.text, "".join(sent) if start < judged else None, findings)
        start = end


def _sent(text: str, piece: Piece) -> str:
    return text[piece.start : piece.end] if piece.text is None else piece.text


def conversation(lines: Iterable[str]) -> list[tuple[Side, str]]:
    """A conversation from lines `user: ...` and `assistant: ...`. Raises `ValueError` that names the line."""
    messages: list[tuple[Side, str]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _SAID.fullmatch(line.rstrip("\r\n"))
        if match is None or not match[2]:
            raise ValueError(f"line {number}: each line of a conversation is `user: ...` or `assistant: ...`")
        messages.append(("user" if match[1] == "user" else "assistant", match[2]))
    return messages


async def as_json(policy: Policy, line: bytes) -> bytes:
    """One line of `explain --jsonl`, in and out. Raises `ValueError` with what is wrong with the line."""
    asked = _asked(policy, line)
    text = asked["text"]
    settings = values(asked.get("settings", {}), policy.settings)
    policy.admit(settings)
    talk = Talk(policy, settings)
    talk.begin(text, asked.get("lang", ""))
    if asked["role"] == "user":
        outcome = await talk.hear(text)
    else:
        if asked.get("user"):
            await talk.hear(asked["user"])
        outcome = await talk.answer([text])
    return orjson.dumps(_verdicts(outcome))


def _asked(policy: Policy, line: bytes) -> dict[str, Any]:
    try:
        asked = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise ValueError("not valid JSON") from None
    if not isinstance(asked, dict) or not _texts({**asked, "settings": ""}):
        raise ValueError("a line is an object of texts")
    if not isinstance(asked.get("settings", {}), dict) or not _texts(asked.get("settings", {})):
        raise ValueError('`settings` is an object of texts, such as {"bedtime": "on"}')
    if unknown := sorted(asked.keys() - _FIELDS - {"settings"}):
        raise ValueError(f"unknown field `{unknown[0]}`; there are role, text, lang, user, settings")
    if asked.get("role") not in ("user", "assistant") or "text" not in asked:
        raise ValueError("`role` (user or assistant) and `text` are needed")
    if asked.get("lang", policy.languages[0]) not in policy.languages:
        raise ValueError(f"`lang` is one of {', '.join(policy.languages)}")
    return asked


def _texts(object: Mapping[str, Any]) -> bool:
    return all(isinstance(value, str) for value in object.values())


def _verdicts(outcome: Outcome) -> dict[str, Any]:
    """The object that DESIGN.md promises: offsets are code points of the input text."""
    spoken = [finding for finding in outcome.findings if speaks(finding)]
    effective = [act_of(finding) for finding in spoken if finding.won and finding.mode == "enforce"]
    return {
        "act": max(effective, key=_STRENGTH.index, default="pass"),
        "text": outcome.text,
        "verdicts": [_verdict(finding) for finding in spoken],
        "flags": sorted({flag for finding in outcome.findings for flag in finding.verdict.flags}),
    }


def _verdict(finding: Finding) -> dict[str, Any]:
    verdict = finding.verdict
    spans = [
        {"start": span.start + finding.start, "end": span.end + finding.start, "entity": span.entity}
        for span in verdict.spans
    ]
    return {"id": finding.rail, "rail": finding.kind, "act": act_of(finding), "why": verdict.why, "spans": spans}


def act_of(finding: Finding) -> str:
    """The verdict's act by name; a note to the model is `steer`."""
    act = finding.verdict.act
    return "steer" if act is Act.PASS and finding.verdict.steer else act.value
