"""The embedded Valkey as a process: data that last, no server left behind, one Kindrail a folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from proxy import embedded
from proxy.embedded import Embedded, EmbeddedFault

# Starts a server, says its pid, and waits to be killed.
HOLDER = """
import sys, time
from pathlib import Path
from proxy import embedded
if "orphan" in sys.argv:
    embedded._libc = None  # as on a system whose kernel does not end the child
print(embedded.Embedded(Path(sys.argv[1])).pid, flush=True)
time.sleep(60)
"""


def client(data: Path) -> Redis:
    return Redis(unix_socket_path=str(data / "valkey.sock"))


def alive(pid: int) -> bool:
    """Whether the process runs; one that waits to be reaped by its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


Hold = Callable[..., tuple[subprocess.Popen[str], int]]


@pytest.fixture
def hold(data: Path) -> Iterator[Hold]:
    """Starts a process that runs a server in `data`: gives it and the server's pid, and leaves neither behind."""
    held: list[tuple[subprocess.Popen[str], int]] = []

    def start(*options: str) -> tuple[subprocess.Popen[str], int]:
        command = [sys.executable, "-c", HOLDER, str(data), *options]
        parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert parent.stdout is not None
        with parent.stdout:
            held.append((parent, int(parent.stdout.readline())))
        return held[-1]

    yield start
    for parent, server in held:
        kill(parent)
        if alive(server) and "valkey" in Path(f"/proc/{server}/cmdline").read_text():  # where a test failed
            os.kill(server, signal.SIGKILL)


def kill(parent: subprocess.Popen[str]) -> None:
    parent.kill()
    parent.wait()


def test_private_append_only_and_without_tcp(data: Path) -> None:
    server = Embedded(data / "new")
    try:
        config = client(server.data).config_get("*")
        wanted = {"port": "0", "appendonly": "yes", "appendfsync": "everysec", "save": ""}
        assert {name: config[name] for name in wanted} == wanted
        modes = {path: path.stat().st_mode & 0o077 for path in [server.data, *server.data.rglob("*")]}
        assert set(modes.values()) == {0}, modes
    finally:
        server.stop()
    assert gone(server.pid)


def test_data_outlive_a_stop_and_a_kill(data: Path) -> None:
    server = Embedded(data)
    client(data).set("kept", "1")
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    server = Embedded(data)
    client(data).xadd("stream", {"kept": "2"})
    server.stop()
    server = Embedded(data)
    assert client(data).get("kept") == b"1"
    assert client(data).xlen("stream") == 1
    server.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the next start reaps the orphan, see below")
def test_a_killed_parent_takes_the_server_with_it(hold: Hold) -> None:
    parent, server = hold()
    assert alive(server)
    kill(parent)
    assert gone(server)


def test_an_orphan_is_reaped_and_its_data_kept(data: Path, hold: Hold) -> None:
    parent, orphan = hold("orphan")
    client(data).set("kept", "1")
    kill(parent)
    assert alive(orphan)
    server = Embedded(data)
    try:
        assert gone(orphan)
        assert server.pid != orphan
        assert client(data).get("kept") == b"1"
    finally:
        server.stop()


def test_an_orphan_that_does_not_stop_is_named(data: Path, hold: Hold, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_STOP_WITHIN", 0.1)
    parent, orphan = hold("orphan")
    kill(parent)
    os.kill(orphan, signal.SIGSTOP)
    with pytest.raises(EmbeddedFault, match="does not stop"):
        Embedded(data)
    os.kill(orphan, signal.SIGKILL)
    assert gone(orphan)
    Embedded(data).stop()  # the failed start gave the folder back


def test_a_second_kindrail_on_the_folder_is_refused(data: Path, hold: Hold) -> None:
    parent, server = hold()
    with pytest.raises(EmbeddedFault, match=f"{data}: another Kindrail .pid {parent.pid}."):
        Embedded(data)
    assert alive(server)


def test_a_path_too_long_for_a_socket(data: Path) -> None:
    deep = data / ("d" * 100)
    with pytest.raises(EmbeddedFault, match="KINDRAIL_DATA") as refused:
        Embedded(deep)
    assert str(deep) in str(refused.value)
    assert not deep.exists()


def test_no_binary_for_the_platform(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EmbeddedFault, match="KINDRAIL_REDIS_URL"):
        Embedded(data)


def test_a_server_that_cannot_start_is_told_of(data: Path) -> None:
    (data / "appendonlydir").write_text("a file in the way")
    with pytest.raises(EmbeddedFault, match=r"valkey\.log"):
        Embedded(data)


def test_a_folder_that_cannot_be_used(data: Path) -> None:
    (data / "file").touch()
    with pytest.raises(EmbeddedFault, match="KINDRAIL_DATA"):
        Embedded(data / "file" / "folder")


def test_folders_with_odd_names(data: Path) -> None:
    server = Embedded(data / "a b%20'ü")
    assert client(server.data).ping()
    server.stop()
