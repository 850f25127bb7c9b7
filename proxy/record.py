"""What is kept of a turn: the opened record and the latch before its first byte, state and closed record before its
last.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from redis.asyncio.client import Pipeline

from proxy.alerts import SEVERITIES, Raised
from proxy.audit import Closed, Opened, Text, VerdictRecord
from proxy.call import Body, Call
from proxy.judged import Finding
from proxy.services import Services
from proxy.sessions import Message, State
from proxy.store import StoreDown
from proxy.turn import Alert, Turn
from proxy.wire.usage import Usage

log = logging.getLogger("kindrail.chat")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a turn ended. `transcripts`: for each answer, the state it left and the conversation up to its end."""

    how: str  # answered, ended, disconnected, backend_failed, ...
    findings: Sequence[Finding]
    transcripts: Sequence[tuple[State, Sequence[Message]]]
    texts: Sequence[Text]  # of a turn in which a rail did something
    finish: str | None
    sent: int  # characters
    usage: Usage | None
    rail_seconds: float
    kept: tuple[list[Body], Body] | None = (
        None  # conversation and answer as they may be stored, where a route keeps them
    )

    @property
    def tokens(self) -> int:
        """What is charged to the key."""
        return int((self.usage or {}).get("total_tokens") or 0)


class Record:
    """The records of one turn. What could not be kept is told by `lost`; a turn is closed once."""

    def __init__(self, services: Services, call: Call) -> None:
        self.session = services.sessions.fresh(call.named, call.caller.tenant)
        self.entered = False  # the key's limits count this turn until it is closed
        self.lost = False
        self._on = services
        self._call = call
        self._begun = time.perf_counter()
        self._seen: dict[str, float] = {}  # milestone -> milliseconds since the turn began
        self._is_open = False
        self._closed = False
        self._alerts: list[Raised] = []  # not kept yet

    @property
    def name(self) -> str:
        """The conversation's name: the app's, or ours, which the app can send back."""
        return self._call.named if self._call.named is not None else self.session.id

    async def find(self, said: Sequence[Message]) -> None:
        """Finds the session; a store that is down is noted, not raised."""
        try:
            self.session = await self._on.sessions.find(self._call.named, said, self._call.caller.tenant)
        except StoreDown as fault:
            self.note(fault)
        self._on.metrics.sessions.labels(self.session.found).inc()

    def alert(self, turn: Turn, findings: Iterable[Finding]) -> None:
        """Takes note of what a person is to be told: it is kept with the next write.

        Of a rail in shadow too: a policy that only watches changes no text, but a child in danger is told of. Of what
        one rail says of one danger the most severe counts.
        """
        heard: dict[tuple[str, float], list[Alert]] = {}
        for found in findings:
            if one := found.verdict.alert:
                heard.setdefault((found.rail, one.since), []).append(one)
        self._alerts = [self._raised(turn, rail, _worst(alerts)) for (rail, _), alerts in heard.items()]

    def _raised(self, turn: Turn, rail: str, one: Alert) -> Raised:
        call, session = self._call, self.session
        # where the rail broke it remembers nothing: what is not known to be a repeat is an alert by itself
        id = self._on.alerts.id(session.id, rail, one.since or call.turn)
        return Raised(
            id, turn.now, one.since or turn.now, call.turn, session.id, session.tenant, call.policy.label, one.kind,
            one.severity, one.parents, turn.language, one.times,
        )  # fmt: skip

    async def open(self, turn: Turn, urgent: bool) -> None:
        """The opened record and the latch.

        A child in danger is answered even if they cannot be kept; anybody else is not. Raises `StoreDown`.
        """
        if self.lost:
            await self._spool()
            if not urgent:
                raise StoreDown(ConnectionError())
            return
        pipe, keep = self._on.store.pipe(), self._call.policy.keep
        self._on.audit.opened(pipe, self._opened(turn), keep)
        self._on.sessions.latch(pipe, self.session, turn.state, keep.sessions)
        self._is_open = True
        await self._run(pipe, urgent)

    async def close(self, turn: Turn, outcome: Outcome, urgent: bool) -> None:
        """State and closed record, once; to its end even if the client goes meanwhile. Raises `StoreDown`."""
        if self._closed:
            return
        self._closed = True
        self.reached("total")
        self._measure(outcome)
        if not self.lost:
            await asyncio.shield(self._on.finish(self._write(turn, outcome, urgent)))
        else:
            if self._alerts:
                await asyncio.shield(self._on.finish(self._spool()))
            if self.entered:
                self._on.finish(self._leave(outcome.tokens))

    async def refused(self, status: int) -> None:
        """The request was no turn: nothing was answered, and nothing is kept but the count, and what a person is to be
        told, to its end even if the client goes meanwhile.
        """
        self._closed = True
        self._on.metrics.refused.labels(str(status)).inc()
        if self._alerts:
            alone = self._spool() if self.lost else self._run(self._on.store.pipe(), urgent=True)
            await asyncio.shield(self._on.finish(alone))
        if self.entered:
            self._on.finish(self._leave(0))

    def reached(self, milestone: str) -> None:
        """Takes the time of a milestone, the first time it is reached."""
        if milestone not in self._seen:
            self._seen[milestone] = round((time.perf_counter() - self._begun) * 1000, 3)
            if milestone == "first_byte":
                self._on.metrics.first_byte.observe(self._seen[milestone] / 1000)

    def note(self, fault: StoreDown) -> None:
        """Takes note that this turn's records are not kept."""
        self.lost = True
        log.error("turn %s is not recorded: %s", self._call.turn, fault.kind)

    async def _write(self, turn: Turn, outcome: Outcome, urgent: bool) -> None:
        on, keep = self._on, self._call.policy.keep
        pipe = on.store.pipe()
        if not self._is_open:  # the client left, or something failed, while the user's side was judged
            on.audit.opened(pipe, self._opened(turn), keep)
        # a named session has one memory: the first answer's, which of the others comes last
        transcripts = outcome.transcripts[:1] if self.session.named else reversed(outcome.transcripts)
        for state, transcript in transcripts:
            on.sessions.commit(pipe, self.session, state, transcript, keep.sessions)
        on.audit.closed(pipe, self._closed_record(outcome), list(outcome.texts), keep)
        if self.entered:
            on.meter.leave(pipe, self._call.caller, self._call.turn, outcome.tokens)
        if outcome.kept is not None and self._call.keep:
            self._call.keep(pipe, *outcome.kept, self.name)
        await self._run(pipe, urgent)

    async def _run(self, pipe: Pipeline, urgent: bool) -> None:
        """Sends a write, with the alerts that have not been kept yet. Raises `StoreDown`, unless `urgent`."""
        for raised in self._alerts:
            self._on.alerts.put(pipe, raised)
        try:
            await self._on.store.run(pipe)
        except StoreDown as fault:
            self.note(fault)
            await self._spool()
            if not urgent:
                raise
        self._kept("raised")

    async def _spool(self) -> None:
        """Alerts that the store cannot keep are written into files, before the answer's first byte all the same."""
        for raised in self._alerts:
            await asyncio.to_thread(self._on.alerts.spool, raised)
        self._kept("spooled")

    def _kept(self, state: str) -> None:
        for raised in self._alerts:
            self._on.metrics.alerts.labels(raised.kind, state).inc()
        self._alerts = []

    async def _leave(self, tokens: int) -> None:
        """The slot of a turn that is not recorded becomes free, if the store is back; else when its lease is over."""
        pipe = self._on.store.pipe()
        self._on.meter.leave(pipe, self._call.caller, self._call.turn, tokens)
        with suppress(StoreDown):
            await self._on.store.run(pipe)

    def _opened(self, turn: Turn) -> Opened:
        call, session = self._call, self.session
        return Opened(
            call.turn, session.id, session.found, session.tenant, call.policy.label, call.policy.digest, turn.language,
            turn.now, call.route, call.stream, call.caller.key,
        )  # fmt: skip

    def _closed_record(self, outcome: Outcome) -> Closed:
        ms = {**self._seen, "rails": round(outcome.rail_seconds * 1000, 3)}
        verdicts = tuple(_verdict(found) for found in outcome.findings)
        return Closed(
            self._call.turn, self.session.id, outcome.how, verdicts, outcome.finish, outcome.sent, outcome.usage, ms
        )

    def _measure(self, outcome: Outcome) -> None:
        metrics, label = self._on.metrics, self._call.policy.label
        metrics.turns.labels(label, "unrecorded" if self.lost else outcome.how).inc()
        metrics.rail_seconds.observe(outcome.rail_seconds)
        metrics.count(label, outcome.findings)


def _worst(alerts: Sequence[Alert]) -> Alert:
    """The most severe of a thread, of equal ones the last; for parents only where all of them are."""
    worst = min(reversed(alerts), key=lambda one: SEVERITIES.index(one.severity))
    return replace(worst, parents=all(one.parents for one in alerts), times=max(one.times for one in alerts))


def _verdict(found: Finding) -> VerdictRecord:
    verdict, entities = found.verdict, dict[str, int]()
    for span in verdict.spans:
        entities[span.entity] = entities.get(span.entity, 0) + 1
    return VerdictRecord(
        found.rail, found.kind, found.mode, found.role, verdict.act.value, verdict.why, verdict.say,
        tuple(sorted(verdict.flags)), found.won, round(found.ms, 3), entities, found.withdrawn,
    )  # fmt: skip
