"""The master secret, and what is made from it: tags that stand for names, and sealed texts.

One secret serves all uses; each use gets a key of its own, so that a tag of one kind says nothing about another kind.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from base64 import b64decode, b64encode
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_SHORTEST = 32  # characters of a secret: 128 bits even if it is written in hex
_NONCE = 12  # bytes, as AES-GCM recommends (NIST SP 800-38D, section 8.2)


class SecretFault(Exception):
    """The secret file cannot be used; the text names the file and the remedy, never the secret."""


class Unreadable(Exception):
    """A sealed text that no listed secret opens: of another session, of a dropped secret, or damaged."""


class Keys:
    """Tags and seals under one or several master secrets: the first writes, all read (rotation)."""

    def __init__(self, masters: Sequence[bytes]) -> None:
        self._masters = tuple(masters)

    def tag(self, purpose: str, *parts: str | bytes) -> str:
        """32 hex digits for `parts`: the same for the same parts and purpose, not to be guessed without the secret."""
        return _tag(self._masters[0], purpose, parts)

    def tags(self, purpose: str, *parts: str | bytes) -> tuple[str, ...]:
        """The tag under every listed secret, the writing one first: where something of before a rotation may lie."""
        return tuple(_tag(master, purpose, parts) for master in self._masters)

    def seal(self, session: str, text: str) -> str:
        """`text` encrypted under the session's own key (AES-256-GCM), as base64."""
        nonce = secrets.token_bytes(_NONCE)
        sealed = AESGCM(self._session_keys(session)[0]).encrypt(nonce, text.encode(), None)
        return b64encode(nonce + sealed).decode()

    def open(self, session: str, sealed: str | bytes) -> str:
        """What `seal` was given. Raises `Unreadable`."""
        try:
            raw = b64decode(sealed, validate=True)
        except ValueError:
            raise Unreadable from None
        for key in self._session_keys(session):
            try:
                return AESGCM(key).decrypt(raw[:_NONCE], raw[_NONCE:], None).decode()
            except (InvalidTag, ValueError):  # ValueError: too short to be one of ours
                continue
        raise Unreadable

    def _session_keys(self, session: str) -> tuple[bytes, ...]:
        """The keys of one session, the writing one first. To make them destroyable, store them: a change here alone."""
        return tuple(_derive(_purpose_key(master, "seal"), session) for master in self._masters)


def load_keys(data: Path, secret_file: Path | None = None) -> Keys:
    """The keys of `secret_file`, or of `<data>/secret`, which is generated where it is missing.

    The file has one secret a line, the one that writes first. Raises `SecretFault`.
    """
    path = secret_file or data / "secret"
    if secret_file is None and not path.exists():
        try:
            _generate(path)
        except OSError as fault:
            remedy = "Set KINDRAIL_DATA to a folder that Kindrail may write to, or KINDRAIL_SECRET_FILE to a secret."
            raise SecretFault(f"{path}: no secret can be written here ({fault.strerror}). {remedy}") from None
    return Keys(_read(path))


def _read(path: Path) -> list[bytes]:
    try:
        mode = path.stat().st_mode
        lines = [line.strip() for line in path.read_bytes().splitlines() if line.strip()]
    except OSError as fault:
        raise SecretFault(f"{path}: the secret file cannot be read ({fault.strerror}).") from None
    if mode & (
        stat.S_IRWXO | stat.S_IWGRP
    ):  # a group may read: that is how Kubernetes hands secrets to a non-root user
        raise SecretFault(
            f"{path}: others can read or change the secret (mode {mode & 0o777:04o}). Do: chmod 600 {path}"
        )
    if not lines or min(map(len, lines)) < _SHORTEST:
        remedy = "Write one secret a line, for example from: openssl rand -hex 32"
        raise SecretFault(f"{path}: a secret has at least {_SHORTEST} characters. {remedy}")
    return lines


def _generate(path: Path) -> None:
    """Write a new secret all at once: a crash leaves none or a whole one, and two processes both use the winner's."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32) + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _tag(master: bytes, purpose: str, parts: tuple[str | bytes, ...]) -> str:
    raw = [part.encode() if isinstance(part, str) else part for part in parts]
    framed = b"".join(len(part).to_bytes(4, "big") + part for part in raw)  # so that ("ab", "c") is not ("a", "bc")
    return hmac.digest(_purpose_key(master, f"tag {purpose}"), framed, "sha256").hex()[:32]


@lru_cache(maxsize=64)
def _purpose_key(master: bytes, purpose: str) -> bytes:
    """`_derive` for the few purposes there are, remembered."""
    return _derive(master, purpose)


def _derive(key: bytes, purpose: str) -> bytes:
    """A 32-byte key for one purpose: HMAC-SHA256 as a key derivation function (NIST SP 800-108, one block)."""
    return hmac.digest(key, purpose.encode(), "sha256")
