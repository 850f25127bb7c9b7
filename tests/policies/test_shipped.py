"""What the shipped policies promise, whatever their wording: order, languages, lines that fit a child."""

from pathlib import Path

import pytest
import yaml

from proxy.policy.load import load_folder
from proxy.policy.model import Policy
from proxy.policy.trial import run_tests
from proxy.text import is_question

POLICIES = Path(__file__).parents[2] / "policies"
LANGUAGES = ("en", "it", "ko")
KIDS_RAILS = [
    "crisis", "stop", "house-flows", "hide-private", "asks-private", "risky-play", "unsafe-topic", "clamp",
    "repeat",
]  # fmt: skip
NAMES = ["general", "kids-buddy", "observe"]


@pytest.fixture(scope="module")
def shipped() -> dict[str, Policy]:
    return load_folder(POLICIES)


def test_they_are_the_documented_ones(shipped: dict[str, Policy]) -> None:
    assert sorted(shipped) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_rail_has_tests(shipped: dict[str, Policy], name: str) -> None:
    assert shipped[name].languages == LANGUAGES
    for bound in shipped[name].rails:
        assert bound.examples, bound.id


@pytest.mark.parametrize("name", NAMES)
async def test_their_own_tests_pass(shipped: dict[str, Policy], name: str) -> None:
    report = await run_tests(shipped[name])
    assert [(one.where, one.message) for one in report.failures + report.promoted] == []
    assert set(report.languages) == set(LANGUAGES)


def test_the_childrens_rails_stand_in_order_and_are_enforced(shipped: dict[str, Policy]) -> None:
    kids = shipped["kids-buddy"]
    assert kids.audience == "child"
    assert [bound.id for bound in kids.rails] == KIDS_RAILS
    assert {bound.mode for bound in kids.rails} == {"enforce"}


def test_no_line_for_children_asks(shipped: dict[str, Policy]) -> None:
    lines = [
        (key, text)
        for key, by_language in shipped["kids-buddy"].say.items()
        for variants in by_language.values()
        for text in variants
    ]
    assert [(key, text) for key, text in lines if "?" in text or is_question(text)] == []


def test_a_child_in_danger_is_never_told_goodbye(shipped: dict[str, Policy]) -> None:
    said = " ".join(text for variants in shipped["kids-buddy"].say["crisis"].values() for text in variants).lower()
    assert not any(
        word in said for word in ("bye", "ciao", "notte", "night", "안녕", "잘 자", "promise", "prometto", "약속")
    )
    assert "112" in said
    assert "119" in said


def test_each_childrens_line_has_variants(shipped: dict[str, Policy]) -> None:
    for key, by_language in shipped["kids-buddy"].say.items():
        assert all(2 <= len(by_language[language]) <= 3 for language in LANGUAGES), key


def test_adults_are_not_spoken_to_like_children(shipped: dict[str, Policy]) -> None:
    general = shipped["general"]
    assert general.audience == "adult"
    assert not general.stand_ins
    assert [bound.kind for bound in general.rails] == ["phrases", "pii", "clamp", "repeat"]
    assert general.model.system.text == ""


def test_observe_watches_with_the_childrens_rails_and_enforces_none(shipped: dict[str, Policy]) -> None:
    observe = shipped["observe"]
    assert [bound.id for bound in observe.rails] == KIDS_RAILS
    assert {bound.mode for bound in observe.rails} == {"shadow"}


@pytest.mark.parametrize("name", ["general", "kids-buddy"])
def test_no_phrase_stands_twice_in_a_list(name: str) -> None:
    lists = yaml.load((POLICIES / f"{name}.yaml").read_text("utf-8"), Loader=yaml.BaseLoader)["phrases"]
    for key, words in lists.items():
        for part in (words, words.get("but_not", {})):
            for language in LANGUAGES:
                phrases = part.get(language, [])
                assert len(phrases) == len(set(phrases)), (key, language)
