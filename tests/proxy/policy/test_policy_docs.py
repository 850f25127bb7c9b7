"""The page on rails says every option of every rail, and `--check` knows when it is stale."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

import rails
from proxy.policy import docs


def test_every_option_of_every_rail_is_described() -> None:
    page = docs.page()
    for name in rails.names():
        section = page.split(f"## {name}\n")[1].split("\n## ")[0]
        for option, info in rails.load(name).RailOptions.model_fields.items():
            assert info.description, f"{name}.{option} has no description"
            assert f"| `{option}` | " in section


@pytest.mark.parametrize(
    "row",
    [
        "| `sentences` | a whole number | `4` |",
        "| `say_stop` | a line under `say` | needed |",
        "| `kinds.*.say` | a line under `say` | none |",
        "| `user_says` | a list under `phrases` | none |",
        "| `quiet_for` | a length of time (`400ms`, `30s`, `15m`, `24h`, `90d`) | `30m` |",
        "| `longest` | a length of time (`400ms`, `30s`, `15m`, `24h`, `90d`) | none |",
        "| `folder` | a folder beside the policy | needed |",
        "| `input` | a list of texts | none |",
        "| `values` | a mapping | none |",
        "| `user` | `true` or `false` | `true` |",
        "| `learned` | `child` | none |",
        "| `when` | `suspicion`, `sample` or `always` |",
    ],
)
def test_types_and_defaults_are_in_plain_words(row: str) -> None:
    assert row in docs.page()


def test_nothing_of_python_is_shown() -> None:
    page = docs.page()
    assert not [sign for sign in ("typing.", "<class", "<function", " at 0x", "NoneType") if sign in page]


def test_a_type_without_plain_words_is_refused() -> None:
    with pytest.raises(KeyError):
        docs._type(FieldInfo(annotation=complex))


def test_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "rails.md"
    assert docs.main(["--check", str(page)]) == 1
    page.write_text(docs.page(), encoding="utf-8")
    assert docs.main(["--check", str(page)]) == 0
    page.write_text(docs.page() + "x", encoding="utf-8")
    assert docs.main(["--check", str(page)]) == 1
    assert "run `python -m proxy.policy.docs > docs/rails.md`" in capsys.readouterr().err


def test_without_arguments_the_page_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert docs.main([]) == 0
    assert capsys.readouterr().out == docs.page()
    assert docs.main(["--chek"]) == 2
