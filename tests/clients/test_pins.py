"""What the clients' environments are made of is pinned by version and hash, and says nothing of where to get it."""

import json
import re

import pytest
from clients.kit import HERE

NAMES = sorted(path.stem for path in HERE.glob("*.in"))


@pytest.mark.parametrize("name", NAMES)
def test_every_requirement_has_a_version_and_a_hash(name):
    lines = (HERE / f"{name}.txt").read_text().replace("\\\n", " ").splitlines()
    pinned = r"[\w.-]+(\[[\w,-]+\])?==[\w.+!-]+( ; [^;]+?)? ( *--hash=sha256:[0-9a-f]{64})+"
    assert lines
    assert [line for line in lines if not re.fullmatch(pinned, line)] == []


@pytest.mark.parametrize("name", NAMES)
def test_what_was_asked_for_is_among_them(name):
    asked = re.findall(r"^[\w-]+", (HERE / f"{name}.in").read_text(), re.MULTILINE)
    pinned = re.findall(r"^[\w.-]+", (HERE / f"{name}.txt").read_text(), re.MULTILINE)
    assert asked
    assert set(asked) - set(pinned) == set()


def test_the_node_packages_are_pinned_without_a_host():
    lock = json.loads((HERE / "package-lock.json").read_text())
    root, *packages = lock["packages"].values()
    assert root["dependencies"] == json.loads((HERE / "package.json").read_text())["dependencies"]
    assert [one for one in packages if not one.get("integrity") or "resolved" in one] == []
