"""The master secret: generated, read, rotated, refused; tags and seals made from it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from proxy.keys import Keys, SecretFault, Unreadable, load_keys

ONE, TWO = b"1" * 32, b"2" * 32


def test_generated_once_private_and_read_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    first = load_keys(data).tag("session", "x")
    assert load_keys(data).tag("session", "x") == first
    assert (data / "secret").stat().st_mode & 0o777 == 0o600
    assert data.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in data.iterdir()] == ["secret"]
    assert len(bytes.fromhex((data / "secret").read_text())) == 32


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SecretFault, match="KINDRAIL_DATA"):
        load_keys(tmp_path / "file" / "data")


def test_processes_that_start_together_share_one_secret(tmp_path: Path) -> None:
    script = "import sys, pathlib, proxy.keys as k; print(k.load_keys(pathlib.Path(sys.argv[1])).tag('a'))"
    command = [sys.executable, "-c", script, str(tmp_path)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    assert {process.communicate()[0].decode().strip() for process in started} == {load_keys(tmp_path).tag("a")}
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        (None, 0o600, "cannot be read"),
        ("x" * 31, 0o600, "openssl rand -hex 32"),
        ("", 0o600, "at least 32"),
        ("x" * 32 + "\nshort", 0o600, "at least 32"),
        ("x" * 64, 0o644, "chmod 600"),
        ("x" * 64, 0o660, "chmod 600"),
    ],
)
def test_unfit_files_are_refused(tmp_path: Path, content: str | None, mode: int, says: str) -> None:
    path = tmp_path / "mine"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    with pytest.raises(SecretFault, match=says) as refused:
        load_keys(tmp_path, path)
    assert str(path) in str(refused.value)
    assert "xxx" not in str(refused.value)


def test_a_group_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "mounted"
    path.write_text("x" * 64)
    path.chmod(0o440)
    assert load_keys(tmp_path, path).tag("a")


def test_two_lines_are_two_secrets(tmp_path: Path) -> None:
    path = tmp_path / "both"
    path.write_bytes(TWO + b"\n" + ONE + b"\n")
    path.chmod(0o600)
    both, old = load_keys(tmp_path, path), Keys([ONE])
    assert both.tags("session", "x") == (Keys([TWO]).tag("session", "x"), old.tag("session", "x"))
    assert both.open("s", old.seal("s", "before")) == "before"
    with pytest.raises(Unreadable):
        old.open("s", both.seal("s", "after"))


def test_tags_keep_purposes_parts_and_secrets_apart() -> None:
    keys = Keys([ONE])
    tags = [
        keys.tag("session", "ab", "c"),
        keys.tag("session", "a", "bc"),
        keys.tag("session", "abc"),
        keys.tag("said", "ab", "c"),
        Keys([TWO]).tag("session", "ab", "c"),
    ]
    assert len(set(tags)) == len(tags)
    assert all(len(tag) == 32 and int(tag, 16) >= 0 for tag in tags)
    assert keys.tag("session", "안녕") == keys.tag("session", "안녕".encode())


def test_a_seal_opens_for_its_own_session_only() -> None:
    keys = Keys([ONE])
    sealed = keys.seal("one", "ciao 안녕")
    assert keys.open("one", sealed) == "ciao 안녕"
    assert keys.open("one", sealed.encode()) == "ciao 안녕"
    assert keys.seal("one", "ciao 안녕") != sealed
    for session, text in [("two", sealed), ("one", sealed[:-8] + "AAAAAAAA"), ("one", "AAAA"), ("one", "no base64")]:
        with pytest.raises(Unreadable):
            keys.open(session, text)
