"""A small policy of real rails, and a way to write it with a change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.policy import Policy, load_policy

TINY = """\
policy: tiny
version: 3
about: A policy for tests.
audience: child
languages: [en, it, ko]
hold: sentence
say:
  sorry: {en: "Hm.", it: "Mh.", ko: "음."}
  fallback: {en: "I listen.", it: "Ti ascolto.", ko: "듣고 있어."}
  care: {en: "Please tell a grown-up.", it: "Dillo a un grande.", ko: "어른한테 말해 줘."}
  bye: {en: ["Okay, we stop. Bye!", "All right. Bye!"], it: "Va bene, ciao!", ko: "알겠어, 안녕!"}
  no_secrets: {en: "You need not tell me.", it: "Non me lo devi dire.", ko: "말 안 해도 돼."}
steer:
  quiet: {en: "Stay calm.", it: "Stai calmo.", ko: "조용히."}
stand_ins:
  PERSON: {en: a friend, it: un amico, ko: 친구}
phrases:
  danger: {en: [hurt myself], it: [farmi male], ko: [죽고 싶어]}
  stop:
    en: [stop, no]
    it: [basta]
    ko: [그만]
    but_not: {en: [bus stop], it: [basta che], ko: [그만큼]}
  sleep: {en: [good night], it: [ho sonno], ko: [졸려]}
  goodbye: {en: [bye bye], it: [arrivederci], ko: [안녕히]}
  again: {en: [play again], it: [giochiamo ancora], ko: [다시 하자]}
  asks: {en: [what's your name], it: [come ti chiami], ko: [이름이 뭐]}
rails:
  - id: crisis
    rail: crisis
    why: A child in danger comes first.
    kinds:
      emergency: {phrases: danger, say: care}
    tests:
      trips:
        - {user: "I want to hurt myself"}
  - id: stop
    rail: stop
    why: Stop means stop.
    stop: stop
    sleep: sleep
    goodbye: goodbye
    starts_again: again
    say_stop: bye
    say_sleep: bye
    say_goodbye: bye
    steer: quiet
    tests:
      trips:
        - {user: "stop!", becomes: "Okay, we stop. Bye!"}
        - {user: "그만할래"}
        - {user: "stop", assistant: "Okay. Do you want to play?", becomes: "Okay."}
      passes:
        - {user: "Let us draw a bus stop"}
      known_misses:
        - {user: "my eyes are closing"}
  - id: asks-private
    rail: phrases
    why: It asks for the name.
    mode: enforce
    assistant_says: asks
    say: no_secrets
    tests:
      trips:
        - {assistant: "Ciao! Come ti chiami? Giochiamo.", becomes: "Ciao! Non me lo devi dire. Giochiamo."}
  - id: clamp
    rail: clamp
    why: Short answers.
    sentences: 3
    tests:
      trips:
        - {assistant: "One. Two. Three. Four.", lang: en, becomes: "One. Two. Three."}
      passes:
        - {assistant: "One. Two."}
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes the tiny policy with `old` replaced by `new` and `more` behind it, and returns its path."""

    def written(old: str = "", new: str = "", *, name: str = "tiny", text: str = TINY, more: str = "") -> Path:
        assert old in text
        path = tmp_path / f"{name}.yaml"
        path.write_text((text.replace(old, new, 1) if old else text) + more, encoding="utf-8")
        return path

    return written


@pytest.fixture
def tiny(write: Write) -> Policy:
    return load_policy(write())
