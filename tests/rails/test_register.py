"""The folder is the register."""

import subprocess
import sys
from pathlib import Path

import pytest

import rails
from proxy.turn import Options

OURS = ("clamp", "colang", "crisis", "judge", "phrases", "pii", "repeat", "stop")


def test_every_file_is_a_rail() -> None:
    files = {path.stem for path in Path(rails.__file__).parent.glob("*.py") if not path.stem.startswith("_")}
    assert set(OURS) <= files
    assert rails.names() == tuple(sorted(files))


@pytest.mark.parametrize("name", OURS)
def test_a_rail_has_its_classes(name: str) -> None:
    module = rails.load(name)
    assert issubclass(module.RailOptions, Options)
    assert module.Rail.content | module.Rail.shape <= {"user", "assistant", "tool"}
    assert not module.Rail.content & module.Rail.shape  # its verdict on a segment is one, and stands in the turn's memo
    assert module.Rail.needs in ("clause", "sentence", "message")


@pytest.mark.parametrize("name", OURS)
def test_every_option_is_described(name: str) -> None:
    for option, field in rails.load(name).RailOptions.model_fields.items():
        assert field.description, f"{name}.{option}"
        assert field.description.endswith("."), f"{name}.{option}"


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("clmap", "did you mean `clamp`?"),
        ("weather", "there are: clamp, colang, crisis, "),
        ("__init__", "there are: "),
    ],
)
def test_an_unknown_name_gets_a_remedy(name: str, remedy: str) -> None:
    with pytest.raises(rails.UnknownRail) as caught:
        rails.load(name)
    assert str(caught.value).startswith(f"there is no rail `{name}`; {remedy}")


def test_an_underscored_file_is_no_rail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "_shared.py").touch()
    (tmp_path / "echo.py").touch()
    monkeypatch.setattr(rails, "__path__", [str(tmp_path)])
    assert rails.names() == ("echo",)


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    look = "import sys, rails; rails.names(); print([name for name in sys.modules if name.startswith('rails.')])"
    found = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
