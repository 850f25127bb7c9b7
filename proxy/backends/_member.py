"""One server of a fleet: what it serves, how it is, and what is known of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from proxy.backends._breaker import Breaker
from proxy.turn import Ask, Backend, BackendFault, Health

log = logging.getLogger("kindrail.fleet")

# What another server may do better: 424 is TGI's for a generation that failed, 429 for too many at once.
ELSEWHERE = frozenset({424, 429, 500, 502, 503, 504})


@dataclass(slots=True)
class Attempt:
    """One request to one member."""

    member: Member
    begun: bool = False  # its first event is there: nobody else may be asked any more

    def first(self) -> None:
        """The first event has come. Calling it for later ones does nothing."""
        if not self.begun:
            self.begun = True
            self.member.told(self.member.breaker.begun(), "is asked again")


@dataclass(eq=False, slots=True)
class Member:
    """`place` is its name in the operator's file (`backends[0]`), the only one that logs show."""

    place: str
    backend: Backend
    models: tuple[str, ...] = ()  # globs; empty: those that it lists
    rename: Mapping[str, str] = field(default_factory=dict)  # an app's name of a model -> the server's
    weight: int = 1
    concurrency: int | None = None
    patience: float = 60.0  # seconds that it may take to its first event
    asked_for_list: bool = True  # its list of models comes from the server itself, and tells how it is
    breaker: Breaker = field(default_factory=Breaker)
    health: Health = "unknown"  # as the last look found it
    listed: dict[str, dict[str, Any]] | None = None  # id -> entry of its list of models; None: not known
    running: int = 0

    @property
    def ready(self) -> bool:
        """Whether it may be asked now."""
        return self.healthy and self.breaker.ready and not self.busy

    @property
    def healthy(self) -> bool:
        """Whether no look found it down."""
        return self.health != "down"

    @property
    def busy(self) -> bool:
        return self.concurrency is not None and self.running >= self.concurrency

    def serves(self, model: str) -> bool:
        """Whether it is known to serve what an app calls `model`; a request without a name suits every server."""
        if not model:
            return True
        if self.models:
            return model in self.rename or any(fnmatchcase(model, glob) for glob in self.models)
        return self.listed is not None and self.rename.get(model, model) in self.listed

    def offers(self) -> Iterator[dict[str, Any]]:
        """The entries of its list that an app can ask for, under the app's names too."""
        listed = self.listed or {}
        yield from (entry for model, entry in listed.items() if self.serves(model))
        yield from ({**listed[its], "id": name} for name, its in self.rename.items() if its in listed)

    def named(self, ask: Ask) -> Ask:
        """The question with the server's name of the model."""
        model = self.rename.get(ask.model)
        return replace(ask, body={**ask.body, "model": model}) if model else ask

    @contextmanager
    def asked(self) -> Iterator[Attempt]:
        """Counts a request while it runs, and what became of it; lets every exception through."""
        attempt = Attempt(self)
        self.running += 1
        self.breaker.begin()
        try:
            yield attempt
        except BackendFault as fault:
            if fault.status in ELSEWHERE and fault.status != 429:  # busy is not broken
                self.told(self.breaker.failed(), f"is left out for a while ({fault.error['code'] or fault.status})")
            else:
                self.told(self.breaker.well(), "is asked again")
            raise
        except BaseException:  # cancelled, or closed because no more of the answer is wanted
            if attempt.begun:
                self.breaker.well()
            else:
                self.breaker.left()
            raise
        else:
            self.told(self.breaker.well(), "is asked again")
        finally:
            self.running -= 1

    async def look(self) -> None:
        """Asks for its list of models, which tells whether it is well; a server that has none is."""
        try:
            answer = await self.backend.models()
        except BackendFault as fault:
            self._found("up" if fault.status < 500 else "down", fault.error["code"] or fault.status)
            return
        self._found("up" if self.asked_for_list else "unknown")
        entries = answer.get("data")
        self.listed = {
            entry["id"]: entry
            for entry in (entries if isinstance(entries, list) else [])
            if isinstance(entry, dict) and isinstance(entry.get("id"), str)
        }

    def _found(self, health: Health, why: object = "") -> None:
        was, self.health = self.health, health
        if health == "down":
            self.told(was != "down", f"does not answer ({why})")
        else:
            self.told(was == "down", "answers again")

    def told(self, changed: bool, what: str) -> None:
        """Tells the operator, if something changed."""
        if changed:
            log.warning("%s %s", self.place, what)
