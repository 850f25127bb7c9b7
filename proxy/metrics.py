"""What an operator watches. Labels are names from the policy and fixed words: never text, never an id."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from proxy.judged import Finding

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The process's counters, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.turns = Counter(
            "kindrail_turns", "Turns by how they ended.", ["policy", "outcome"], registry=self._registry
        )
        self.running = Gauge("kindrail_turns_running", "Turns under way.", registry=self._registry)
        self.sessions = Counter(
            "kindrail_sessions", "Turns by how their session was found.", ["found"], registry=self._registry
        )
        self.refused = Counter(
            "kindrail_refused_requests", "Requests refused before a turn began.", ["status"], registry=self._registry
        )
        self.alerts = Counter(
            "kindrail_alerts",
            "Alerts: raised, spooled (the store was down), unreadable, and their deliveries, delivered or failed.",
            ["kind", "state"],
            registry=self._registry,
        )
        self.reloads = Counter(
            "kindrail_policy_reloads", "Reloads of the policies by their result.", ["result"], registry=self._registry
        )
        self.first_byte = Histogram(
            "kindrail_first_byte_seconds",
            "From the request to the first byte of its answer.",
            registry=self._registry,
            buckets=_SECONDS,
        )
        self.rail_seconds = Histogram(
            "kindrail_rails_seconds",
            "What all rails together took in a turn.",
            registry=self._registry,
            buckets=_SECONDS,
        )
        self._verdicts = Counter(
            "kindrail_verdicts",
            "Verdicts that did not pass.",
            ["policy", "rail", "mode", "act"],
            registry=self._registry,
        )
        self._broken = Counter(
            "kindrail_broken_rails",
            "Rails that failed or were late.",
            ["policy", "rail", "how"],
            registry=self._registry,
        )

    def count(self, policy: str, findings: Iterable[Finding]) -> None:
        """Counts the verdicts of one turn."""
        for found in findings:
            self._verdicts.labels(policy, found.rail, found.mode, found.verdict.act.value).inc()
            if found.broken:
                self._broken.labels(policy, found.rail, found.broken).inc()

    def page(self) -> bytes:
        """The page that Prometheus reads."""
        return generate_latest(self._registry)
