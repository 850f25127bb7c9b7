"""docs/flows.md is true: its example is written out, its commands are run, and its recipes do what they say."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from proxy.cli import app
from proxy.config import SHIPPED_POLICIES
from proxy.policy import load_policy
from proxy.policy.explain import Side, explain

PAGE = (Path(__file__).parents[3] / "docs" / "flows.md").read_text("utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"`([\w./-]+\.(?:yaml|co|txt))`[^`]*\Z")  # the last file named before a block


def blocks(language: str, text: str = PAGE) -> list[str]:
    return [match[2] for match in FENCE.finditer(text) if match[1] == language]


def section(title: str) -> str:
    """What stands under a heading, up to the next."""
    return re.split(r"^#+ ", PAGE.split(f" {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def files() -> Iterator[tuple[str, str]]:
    """The files that the page shows, each by the name that stands before it."""
    end = 0
    for match in FENCE.finditer(PAGE):
        named = FILE.search(PAGE[end : match.start()])
        if named and match[1] in ("yaml", "colang", "text"):
            yield named[1], match[2]
        end = match.end()


def commands(title: str) -> list[tuple[list[str], str]]:
    """The commands of `kindrail` in a section, each with the output that is shown."""
    shown = (block[2:].partition("\n") for block in blocks("console", section(title)))
    return [(shlex.split(command)[1:], output) for command, _, output in shown if command.startswith("kindrail ")]


def said(arguments: list[str]) -> str:
    """What a command prints, without white space at the ends of lines."""
    return (
        "\n".join(
            line.rstrip() for line in CliRunner().invoke(app, arguments, catch_exceptions=False).output.splitlines()
        )
        + "\n"
    )


@pytest.fixture
def club(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that a reader of the page has by then; the commands run beside it."""
    for name, text in files():
        if not name.startswith("my-policies/our-"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KINDRAIL_POLICIES", "my-policies")
    return tmp_path / "my-policies"


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


def test_the_page_shows_the_files_it_speaks_of() -> None:
    assert [name for name, _ in files()] == [
        "my-policies/club.yaml",
        "my-policies/flows/endings.co",
        "talk.txt",
        "my-policies/our-buddy.yaml",
        "my-policies/our-flows/surprise.co",
    ]


@pytest.mark.parametrize(("title", "count"), [("Check", 1), ("Test", 1), ("Explain", 4)])
def test_a_command_says_what_the_page_shows(club: Path, title: str, count: int) -> None:
    assert len(commands(title)) == count
    for arguments, output in commands(title):
        assert said(arguments) == output, arguments


def test_mistakes_look_as_the_page_shows(club: Path) -> None:
    (check, fault), (test, failure) = commands("Mistakes")
    change(club / "flows" / "endings.co", "execute phrases", "execute phrase")
    assert said(check) == fault
    change(club / "flows" / "endings.co", "execute phrase(", "execute phrases(")
    change(club / "club.yaml", "passes:\n", 'passes:\n        - {user: "How does it end?"}\n')
    assert said(test) == failure


async def test_a_policy_for_children(tmp_path: Path) -> None:
    folder = tmp_path / "my-policies"
    shutil.copytree(SHIPPED_POLICIES, folder)
    for name, text in files():
        if name.startswith("my-policies/our-"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text, "utf-8")
    policy = load_policy(folder / "our-buddy.yaml")
    talk: list[tuple[Side, str]] = [("user", "is there a birthday cake"), ("user", "let's draw a boat")]
    cake, boat = [message.outcome for message in await explain(policy, talk, "en")]
    assert (cake.text, cake.tripped()) == ("Wait and see!", {"our-rules"})
    assert (boat.text, boat.tripped()) == ("let's draw a boat", set())


RECIPES: dict[str, tuple[list[tuple[Side, str]], dict[str, Any]]] = {  # name -> a talk, and what becomes of its end
    "no links": ([("user", "See https://a.example")], {"text": "The ending is yours to find.", "asked": False}),
    "links left out": ([("user", "See https://a.example")], {"text": "(a link was left out)", "asked": True}),
    "books only": ([("assistant", "Hello. The film is long.")], {"text": "Hello. Let's stay with the book."}),
    "third time": ([("user", "How does it end?")] * 3, {"text": "The ending is yours to find.", "asked": False}),
    "with care": ([("user", "How does it end?")], {"asked": True, "hold": "message"}),
    "open first": ([("assistant", "Hello. Hi.")], {"text": "The ending is yours to find. Hello. Hi."}),
}


def test_every_recipe_is_tried() -> None:
    assert set(re.findall("^define subflow (.+)$", section("Recipes"), re.MULTILINE)) == RECIPES.keys()


@pytest.mark.parametrize("recipe", blocks("colang", section("Recipes")))
async def test_a_recipe(club: Path, recipe: str) -> None:
    name = recipe.splitlines()[0].removeprefix("define subflow ")
    (club / "flows" / "recipe.co").write_text(recipe, "utf-8")
    output = "$bot_message" in recipe or "$answer_so_far" in recipe
    change(club / "club.yaml", "[endings told]" if output else "[endings asked for]", f"[{name}]")
    talk, expected = RECIPES[name]
    policy = load_policy(club / "club.yaml")
    *_, last = await explain(policy, talk, "en")
    assert {key: getattr(last.outcome, key) for key in expected} == expected
    assert last.outcome.tripped() == {"club-rules"}
