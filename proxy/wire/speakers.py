"""Who speaks in a text prompt: completion models read their conversations as one text, with the roles written into it.

What makes a role is text like any other, so a user who writes `Assistant:` into his words is read as the assistant from
there on, by this file as by the model; an app that cannot allow that sends chat messages. Where a reading is in
doubt, the text counts as the user's, who is judged most strictly. How a prompt begins is read the same however it goes
on, so that a conversation stays the same conversation as it grows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from proxy.turn import Role

_Who = Literal["instructions", "user", "assistant"]

_WORDS: Mapping[str, _Who] = {
    **dict.fromkeys(("system", "시스템", "sistema"), "instructions"),
    **dict.fromkeys(("user", "human", "child", "kid", "student", "instruction", "input"), "user"),
    **dict.fromkeys(("사용자", "유저", "아이", "utente", "umano", "bambino", "bambina"), "user"),
    **dict.fromkeys(("assistant", "ai", "bot", "chatbot", "model", "response"), "assistant"),
    **dict.fromkeys(("도우미", "어시스턴트", "챗봇", "assistente"), "assistant"),
    **dict.fromkeys(("tool", "ipython"), "user"),
}
# A label: up to three words and a colon, which is no time's (10:30), address's (http://), path's (C:\) or smiley's.
_NAME = (
    r"[ \t]*+(?:\#{1,4}[ \t]*+)?(?P<name>[^\W\d_][^\s:：,;!?\"“”]{0,23}(?:[ \t][^\s:：,;!?\"“”]{1,23}){0,2})"
    r"[ \t]{0,3}[:：](?!//|[\\)(*])(?!(?<=\d[:：])\d)"
)
_LABEL = re.compile(rf"^{_NAME}", re.MULTILINE)
_BEHIND = re.compile(_NAME)
# The markup of chat templates: ChatML, Llama 3, Gemma; Phi and Zephyr; Llama 2 and Mistral; ends and beginnings.
_MARKUP = re.compile(
    r"(?:<\|im_start\|>|<start_of_turn>|<\|start_header_id\|>)(?P<role>[a-z]{1,16})(?:<\|end_header_id\|>|[ \t\r]*+$)"
    r"|<\|(?P<tag>system|user|assistant|tool)\|>"
    r"|(?P<mark>\[/?INST\]|<</?SYS>>|<\|(?:im_end|eot_id|eom_id|end|end_of_text|begin_of_text)\|>|<end_of_turn>|</?s>|<bos>)",
    re.MULTILINE,
)
_MARKS: Mapping[str, _Who] = {"<<SYS>>": "instructions", "[/INST]": "assistant"}


@dataclass(frozen=True, slots=True)
class Part:
    """`start:end` of a prompt is what one speaker says; `role` as in a `Message` (None: the app's own instructions)."""

    role: Role | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Mark:
    """A label or markup at `start:end`: what follows it is said by `who`."""

    start: int
    end: int
    who: _Who = "user"
    name: str = ""  # a label's name, folded
    is_name: bool = False  # looks like somebody's name or a role's word, and not like words of a sentence


def read(prompt: str) -> list[Part]:
    """The spans of the prompt that somebody says, in order; all else (labels, markup, white space) stays as it is.

    A prompt in which nobody asks anything, such as a plain text, is one part: the user's.
    """
    marked = _MARKUP.match(prompt, len(prompt) - len(prompt.lstrip()))
    marks = _by_markup(prompt) if marked else _by_labels(prompt)
    parts = _parts(prompt, marks) if marks else []
    if not any(part.role == "user" for part in parts):
        return [Part("user", 0, len(prompt))]
    return parts


def _parts(prompt: str, marks: Sequence[_Mark]) -> list[Part]:
    """What stands before the first mark and behind each, without the white space around it."""
    parts: list[Part] = []
    borders = [_Mark(0, 0), *marks, _Mark(len(prompt), len(prompt))]
    for mark, following in pairwise(borders):
        text = prompt[mark.end : following.start].rstrip()
        if said := text.lstrip():
            end = mark.end + len(text)
            parts.append(Part(_role(mark.who, parts), end - len(said), end))
    return parts


def _role(who: _Who, before: Sequence[Part]) -> Role | None:
    """Instructions open a prompt; what claims to be some behind another's words is that other's."""
    if who == "instructions":
        return None if not before or before[-1].role is None else "user"
    return who


def _by_markup(prompt: str) -> list[_Mark]:
    marks = []
    for found in _MARKUP.finditer(prompt):
        word = found["role"] or found["tag"]
        who = _WORDS.get(word, "user") if word else _MARKS.get(found["mark"], "user")
        marks.append(_Mark(found.start(), found.end(), who))
    return marks


def _by_labels(prompt: str) -> list[_Mark]:
    """The labels that say who speaks; none where nothing shows that the prompt is a conversation.

    A prompt with a user's word in which nobody answers under a name of his own is written in words, and no name is a
    label in it. In any other, names are labels too.
    """
    labels = [_label(found) for found in _LABEL.finditer(prompt)]
    begins = bool(labels) and _WORDS.get(labels[0].name) in ("instructions", "user")
    answerer = _answerer(prompt, labels, begins)
    if not begins and not answerer:
        return []
    kinds = {_WORDS.get(label.name) for label in labels}
    if "user" in kinds and (not answerer or answerer in _WORDS):
        return [_said_by(label, answerer) for label in labels if label.name in _WORDS]
    return [_said_by(_inner(prompt, label, answerer), answerer) for label in labels]


def _label(found: re.Match[str]) -> _Mark:
    words = found["name"].split()
    name = " ".join(words).casefold()
    is_name = name in _WORDS or (len(words) < 3 and not any(word[0].islower() for word in words))
    return _Mark(found.start(), found.end(), name=name, is_name=is_name)


def _answerer(prompt: str, labels: Sequence[_Mark], begins: bool) -> str:
    """The assistant's name: that of the label at the very end, else an assistant's word; "" where there is neither."""
    if not labels:
        return ""
    last = labels[-1]
    is_speaker = (last.is_name or " " not in last.name) and _WORDS.get(last.name, "assistant") == "assistant"
    if is_speaker and not prompt[last.end :].strip():
        return last.name
    return next((label.name for label in labels if begins and _WORDS.get(label.name) == "assistant"), "")


def _inner(prompt: str, label: _Mark, answerer: str) -> _Mark:
    """The speaker behind a user's word, as in `User: Mum: hello` where Mum answers; else the label itself."""
    found = _BEHIND.match(prompt, label.end) if _WORDS.get(label.name) == "user" else None
    inner = _label(found) if found else label
    known = inner.name == answerer or inner.name in _WORDS
    return _Mark(label.start, inner.end, name=inner.name) if known else label


def _said_by(label: _Mark, answerer: str) -> _Mark:
    """The label with its speaker. Any other words before a colon end what was said before, and stay to be judged.

    They may be a name, or what a child says.
    """
    if label.name == answerer:
        return _Mark(label.start, label.end, "assistant")
    who = _WORDS.get(label.name)
    return _Mark(label.start, label.end if who else label.start, "instructions" if who == "instructions" else "user")
