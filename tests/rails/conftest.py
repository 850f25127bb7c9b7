"""What a rail's tests need: a house made of word lists, and a small line that merges what a rail remembers."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.turn import Act, House, Phrases, Segment, Turn, Verdict

Words = Mapping[str, Sequence[str]]


@pytest.fixture
def house() -> Callable[..., House]:
    """`house(stop={"en": [...], "but_not": {"en": [...]}})`: a house with these lists."""

    def build(**lists: Mapping[str, Any]) -> House:
        phrases = {}
        for name, entry in lists.items():
            words: Words = {language: listed for language, listed in entry.items() if language != "but_not"}
            phrases[name] = Phrases(words, entry.get("but_not"))
        return House(languages=("en", "it", "ko"), phrases=phrases, folder=Path())

    return build


@pytest.fixture
def turn() -> Callable[..., Turn]:
    def build(id: str = "t1", **fields: Any) -> Turn:
        return Turn(id=id, **{"language": "en", **fields})

    return build


@pytest.fixture
def judge(turn: Callable[..., Turn]) -> Callable[..., Awaitable[Verdict]]:
    """`await judge(rail, text, role="user", turn=..., **segment fields)`: one verdict; what it remembers is merged."""

    async def check(rail: Any, text: str, **fields: Any) -> Verdict:
        segment = Segment(**{"role": "assistant", "text": text, "turn": turn(), **fields})
        verdict: Verdict = await rail.check(segment)
        if verdict.remember:
            segment.turn.state.setdefault(rail.key, {}).update(verdict.remember)
        return verdict

    return check


@pytest.fixture
def answer(judge: Callable[..., Awaitable[Verdict]]) -> Callable[..., Awaitable[tuple[str, list[str]]]]:
    """`await answer(rail, turn, pieces)`: what leaves of an answer, and each piece's act, up to and with an END.

    As in the line, white space at a piece's end is held back and leaves with the next piece. A piece is a text or
    `(text, ending)`; the ending of a mere text is "sentence".
    """

    async def feed(rail: Any, turn: Turn, pieces: Sequence[str | tuple[str, str]]) -> tuple[str, list[str]]:
        sent, before, acts = "", "", []
        for piece in pieces:
            text, ending = (piece, "sentence") if isinstance(piece, str) else piece
            verdict = await judge(rail, text, turn=turn, before=before, sent=sent, ending=ending)
            acts.append(verdict.act.value)
            if verdict.act is Act.END:
                break
            if verdict.act is Act.PASS and text.strip():
                sent += (before[len(before.rstrip()) :] if sent else "") + text.rstrip()
            before += text
        return sent, acts

    return feed


SECRETS = {"en": ["her secret"], "it": ["il suo segreto"], "ko": ["비밀"]}
LINES = {"good_bye": {"en": ("Bye!",), "it": ("Ciao!",), "ko": ("안녕!",)}, "fallback": {"en": ("I listen.",)}}


@pytest.fixture
def colang(house: Callable[..., House], tmp_path: Path) -> Callable[..., Any]:
    """`colang(text, input=[...])`: a rail over these flows, in a policy with a list, two lines and a note."""
    from rails.colang import Rail, RailOptions  # NeMo takes a second, and most tests here need none

    def build(flows: str, key: str = "house-flows", rails: Mapping[str, Any] | None = None, **options: Any) -> Rail:
        folder = tmp_path / "flows"
        folder.mkdir(exist_ok=True)
        (folder / "house.co").write_text(flows, "utf-8")
        names = {"notes": frozenset({"calm"}), "ids": frozenset({"hide-private", "crisis"})}
        built = replace(house(secrets=SECRETS), folder=tmp_path, lines=LINES, rails=rails or {}, **names)
        return Rail(key, RailOptions(folder="flows", **{"input": [], "output": [], **options}), built)

    return build


@pytest.fixture
def of(colang: Callable[..., Any]) -> Callable[..., Any]:
    """`of("stop")`: a rail of one input flow `x` with these lines."""

    def build(*body: str, on: str = "input", **options: Any) -> Any:
        lines = ["define subflow x", *(f"  {line}" for line in body)]
        return colang("\n".join(lines) + "\n", **{on: ["x"], **options})

    return build
