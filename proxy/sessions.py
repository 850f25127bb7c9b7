"""What is remembered of a conversation between two turns, and how a request finds it.

An app names its session, or sends only the transcript, as chat apps do. A named session is one Redis hash: rail -> what
it remembers. An unnamed one is a trail of snapshots, one a turn, each under a keyed hash of the transcript up to the
answer; the next request's history is that transcript. Names and transcripts are stored as HMACs, scoped to the tenant;
state has no text. A named session has its vault beside it, sealed, which goes when it goes; a session found by what was
said has none, as others may know that too.

The `1` in the keys is the version of what is stored there: state of another version lies under other keys, not found.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any, Literal

import orjson
from redis.asyncio.client import Pipeline

from proxy.keys import Keys, Unreadable
from proxy.store import Store
from proxy.vault import Contents

Found = Literal["named", "transcript", "run", "forked", "new"]
State = dict[str, dict[str, Any]]
Message = tuple[str, str]  # role, text

_SPOKEN = frozenset({"user", "assistant", "tool"})
# messages at the transcript's end, longest first: for apps that send only their last dozen
_RUNS = (8, 4)
_LONGEST_NAME = 200
_VAULT = ":vault"  # the field of a named session's hash in which its vault is; no rail id has a colon

# A snapshot or run belongs to the session that wrote it. A second session that comes to the same transcript empties it
# for good: nobody can tell any longer whose it is, and state is never shared on a guess.
_PUT = """
local id = redis.call('HGET', KEYS[1], 'id')
local shared = id and id ~= ARGV[1]
redis.call('HSET', KEYS[1], 'id', shared and '' or ARGV[1], 'body', shared and '' or ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
"""
# The first successor of a snapshot (taken = 1) carries its id on; a second one, such as a regenerated answer, forks.
_TAKE = """
local body = redis.call('HGET', KEYS[1], 'body')
if not body or body == '' then return body end
return {redis.call('HGET', KEYS[1], 'id'), body, redis.call('HINCRBY', KEYS[1], 'taken', 1)}
"""
# A rail's memory is written if it still is what this turn read, or what this turn itself latched. So a slow turn never
# undoes what a quicker one of the same session latched. The field '' says that the session exists.
_COMMIT = """
redis.call('HSET', KEYS[1], '', '1')
for i = 2, #ARGV, 4 do
  local held = redis.call('HGET', KEYS[1], ARGV[i]) or ''
  if held == ARGV[i + 1] or held == ARGV[i + 2] then redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 3]) end
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
"""


class BadName(ValueError):
    """A conversation's name that cannot be one; the message says what can."""


@dataclass(slots=True)
class Session:
    """One request's hold on its session. `state` is empty where it was not found: rebuild it from the transcript."""

    id: str  # 32 hex digits: the HMAC of the name, or random
    tenant: str
    found: Found
    named: bool
    state: State = field(default_factory=dict)
    read: dict[str, bytes] = field(default_factory=dict)  # of a named session: the rails' memories as Redis has them
    latched: dict[str, bytes] = field(default_factory=dict)  # ... and as this turn has latched them
    vault: Contents = field(default_factory=Contents)  # grows as the turn finds more
    sealed: bytes = b""  # the vault as Redis has it
    opened: bytes = b""  # ... and what that holds


class Sessions:
    """Finds sessions, and puts the commands that keep them into the turn's two writes. Times to live are in seconds."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys

    def fresh(self, named: str | None, tenant: str = "default") -> Session:
        """A session of which nothing is known; asks nobody. Raises `ValueError` for an impossible name."""
        if named is None:
            return Session(token_hex(16), tenant, "new", named=False)
        check_name(named)
        return Session(self._keys.tag("session", tenant, named), tenant, "new", named=True)

    async def find(self, named: str | None, transcript: Sequence[Message], tenant: str = "default") -> Session:
        """The session of a request, by its name, or else by its transcript: all its messages, the unanswered ones too.

        One trip; none for the first turn of an unnamed session; two where the transcript is known only by its end.
        Raises `ValueError` for an impossible name, `StoreDown`.
        """
        session = self.fresh(named, tenant)
        if named is not None:
            return await self._by_name(session, named)
        history = _history(transcript)
        return await self._by_content(session, history) if history else session

    def latch(self, pipe: Pipeline, session: Session, state: State, keep: float) -> None:
        """Adds what must stand before the answer's first byte: memories that the user changed.

        Only a named session needs it. If an unnamed one is cut off here, its next transcript brings the words again.
        A latch does not ask what others wrote meanwhile: of two, the later one counts.
        """
        if not session.named:
            return
        changed = {rail: value for rail, value in _dumped(state).items() if value != session.read.get(rail)}
        if changed:
            session.latched |= changed
            pipe.hset(_name_key(session.id), items=[part for pair in changed.items() for part in pair])
            pipe.expire(_name_key(session.id), int(keep))

    def commit(
        self, pipe: Pipeline, session: Session, state: State, transcript: Sequence[Message], keep: float
    ) -> None:
        """Adds what must stand before the answer's final chunk. `transcript` ends with the answer as it was sent."""
        if session.named:
            self._commit_named(pipe, session, state, keep)
        else:
            self._commit_said(pipe, session, state, transcript, keep)
            # the answer's header told its id: an app that sends it back has named the session
            tag = self._keys.tag("session", session.tenant, session.id)
            key = _name_key(tag)
            vault = {_VAULT: self._sealed(session, tag)} if session.vault.values and session.found == "new" else {}
            pipe.hset(key, mapping=dict[Any, Any](_dumped(state) | {"": b"1"} | vault))
            if session.found != "new":  # others who know what was said are told this id too: its vault is over
                pipe.hdel(key, _VAULT)
            pipe.expire(key, int(keep))

    async def _by_name(self, session: Session, named: str) -> Session:
        tags = self._keys.tags("session", session.tenant, named)
        pipe = self._store.pipe()
        for tag in tags:
            pipe.hgetall(_name_key(tag))
        for tag, fields in zip(tags, await self._store.run(pipe), strict=True):
            if fields:
                self._open(session, fields.pop(_VAULT.encode(), b""), tag)
                memories = {rail.decode(): value for rail, value in fields.items() if rail}
                session.found = "named"
                session.state = {rail: _loaded(value) for rail, value in memories.items()}
                session.read = memories if tag == session.id else {}  # found before a rotation: it moves to its new key
                return session
        return session

    async def _by_content(self, session: Session, history: list[bytes]) -> Session:
        whole = self._keys.tags("said", session.tenant, *history)
        runs = [self._run_tags(session, history[-size:]) for size in _RUNS if len(history) >= size]
        pipe = self._store.pipe()
        for tag in whole:
            pipe.eval(_TAKE, 1, _said_key(tag))
        for tag in itertools.chain(*runs):
            pipe.hget(_run_key(tag), "body")
        answers = iter(await self._store.run(pipe))
        snapshot, *ends = [_only([next(answers) for _ in tags]) for tags in (whole, *runs)]
        if snapshot:
            return _taken(session, snapshot, "transcript")
        where = next(filter(None, ends), None)
        return await self._by_run(session, where.decode()) if where else session

    async def _by_run(self, session: Session, tag: str) -> Session:
        pipe = self._store.pipe()
        pipe.eval(_TAKE, 1, _said_key(tag))
        (snapshot,) = await self._store.run(pipe)
        return _taken(session, snapshot, "run") if snapshot else session

    def _open(self, session: Session, sealed: bytes, tag: str) -> None:
        """Takes the vault over; one that no secret opens any more is as if it were empty."""
        with suppress(Unreadable, orjson.JSONDecodeError):
            opened = self._keys.open(f"vault {tag}", sealed).encode() if sealed else b""
            session.vault = Contents(**orjson.loads(opened)) if opened else Contents()
            if tag == session.id:  # else found before a rotation: it moves to its new key
                session.sealed, session.opened = sealed, opened

    def _sealed(self, session: Session, tag: str) -> bytes:
        """The vault as it is stored, under a key of its session's own."""
        return self._keys.seal(f"vault {tag}", orjson.dumps(session.vault).decode()).encode()

    def _run_tags(self, session: Session, run: list[bytes]) -> tuple[str, ...]:
        return self._keys.tags("run", session.tenant, *run)

    def _commit_named(self, pipe: Pipeline, session: Session, state: State, keep: float) -> None:
        arguments: list[str | bytes | int] = [int(keep)]
        for rail, value in _dumped(state).items():
            read = session.read.get(rail, b"")
            if value != read or rail in session.latched:
                arguments += [rail, read, session.latched.get(rail, read), value]
        if session.vault.values and orjson.dumps(session.vault) != session.opened:
            arguments += [_VAULT, session.sealed, session.sealed, self._sealed(session, session.id)]
        pipe.eval(_COMMIT, 1, _name_key(session.id), *arguments)

    def _commit_said(
        self, pipe: Pipeline, session: Session, state: State, transcript: Sequence[Message], keep: float
    ) -> None:
        said = _packed(transcript)
        tag = self._keys.tag("said", session.tenant, *said)
        pipe.eval(_PUT, 1, _said_key(tag), session.id, orjson.dumps(state), int(keep))
        for size in _RUNS:
            if len(said) >= size:
                pipe.eval(_PUT, 1, _run_key(self._run_tags(session, said[-size:])[0]), session.id, tag, int(keep))


def check_name(named: str) -> None:
    """Raises `ValueError` unless `named` is 1 to 200 printable ASCII characters."""
    if not (0 < len(named) <= _LONGEST_NAME and named.isascii() and named.isprintable()):
        raise BadName(f"A session id has 1 to {_LONGEST_NAME} printable ASCII characters.")


def _only(answers: list[Any]) -> Any:
    """What lies under the tags of one thing, if under one alone: two are two sessions, before and after a rotation."""
    known = [answer for answer in answers if answer is not None]
    return known[0] if len(known) == 1 else None


def _taken(session: Session, snapshot: list[Any], found: Found) -> Session:
    """The session as its predecessor left it; the id goes on only with the first successor."""
    owner, body, successors = snapshot
    session.state = _loaded(body)
    session.found = found if successors == 1 else "forked"
    if successors == 1:
        session.id = owner.decode()
    return session


def _history(transcript: Sequence[Message]) -> list[bytes]:
    """The messages up to the last answer, which is where the turn before ended."""
    last = max((at for at, (role, _) in enumerate(transcript) if role == "assistant"), default=-1)
    return _packed(transcript[: last + 1])


def _packed(transcript: Sequence[Message]) -> list[bytes]:
    """The messages as they are compared: apps trim and recompose what they send back, and system prompts may change."""
    return [
        f"{role}:{unicodedata.normalize('NFC', text.strip())}".encode("utf-8", "surrogatepass")
        for role, text in transcript
        if role in _SPOKEN
    ]


def _loaded(stored: bytes) -> dict[str, Any]:
    """A memory as it was; what cannot be read is as if it had not been found."""
    try:
        memory = orjson.loads(stored)
    except orjson.JSONDecodeError:
        return {}
    return memory if isinstance(memory, dict) else {}


def _dumped(state: Mapping[str, Mapping[str, Any]]) -> dict[str, bytes]:
    return {rail: orjson.dumps(memory, option=orjson.OPT_SORT_KEYS) for rail, memory in state.items()}


# In braces is what Redis Cluster places a key by.
def _name_key(tag: str) -> str:
    return f"kindrail:session:1:{{{tag}}}"


def _said_key(tag: str) -> str:
    return f"kindrail:said:1:{{{tag}}}"


def _run_key(tag: str) -> str:
    return f"kindrail:run:1:{{{tag}}}"
