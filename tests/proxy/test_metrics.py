"""The metrics: which there are, by which labels, and that no text is among them."""

import pytest
from house import assistant, house
from prometheus_client.parser import text_string_to_metric_families as families

from proxy.backends.scripted import ScriptedBackend
from proxy.judged import Finding
from proxy.metrics import Metrics
from proxy.turn import Act, Span, Verdict

pytestmark = pytest.mark.usefixtures("lists_alone")  # how well the learned model judges is tried elsewhere

LABELS = {
    "kindrail_turns": {"policy", "outcome"},
    "kindrail_turns_running": set(),
    "kindrail_sessions": {"found"},
    "kindrail_refused_requests": {"status"},
    "kindrail_policy_reloads": {"result"},
    "kindrail_alerts": {"kind", "state"},
    "kindrail_first_byte_seconds": {"le"},
    "kindrail_rails_seconds": {"le"},
    "kindrail_verdicts": {"policy", "rail", "mode", "act"},
    "kindrail_broken_rails": {"policy", "rail", "how"},
}
ZEBRA = Verdict(Act.REDACT, (Span(0, 5, "Zebra"),), why="Zebra", say="Zebra")


def finding(mode="enforce", verdict=ZEBRA, broken=""):
    return Finding("hide-private", "pii", mode, "user", 0, 0, verdict, True, 1.5, broken)


def samples(page):
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families(page)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def labels(page):
    """The names of the labels that each family has in use."""
    return {
        family.name: {name for one in family.samples for name in one.labels}
        for family in families(page)
        if not family.name.endswith("_created")
    }


def test_every_label_set():
    metrics = Metrics()
    metrics.turns.labels("p@1", "answered").inc()
    metrics.sessions.labels("new").inc()
    metrics.refused.labels("400").inc()
    metrics.reloads.labels("refused").inc()
    metrics.alerts.labels("fear", "raised").inc()
    metrics.count("p@1", [finding(broken="late")])
    assert labels(metrics.page().decode()) == LABELS


def test_verdicts_and_broken_rails_are_counted():
    metrics = Metrics()
    metrics.count("p@1", [finding(), finding(), finding("shadow"), finding(verdict=Verdict(), broken="late")])
    found = samples(metrics.page().decode())
    assert found["kindrail_verdicts_total", "enforce", "hide-private", "p@1", "redact"] == 2
    assert found["kindrail_verdicts_total", "hide-private", "p@1", "redact", "shadow"] == 1
    assert found["kindrail_verdicts_total", "enforce", "hide-private", "p@1", "pass"] == 1
    assert found["kindrail_broken_rails_total", "hide-private", "late", "p@1"] == 1
    assert sum(key[0] == "kindrail_broken_rails_total" for key in found) == 1


def test_a_verdicts_own_words_are_not_counted():
    metrics = Metrics()
    metrics.count("p@1", [finding()])
    assert b"Zebra" not in metrics.page()


def test_each_has_a_registry_of_its_own():
    Metrics().turns.labels("p@1", "answered").inc()
    assert "answered" not in Metrics().page().decode()


async def test_no_text_and_no_name_of_a_conversation_reaches_the_page():
    async with house(ScriptedBackend(0)) as home:
        await home.stream("Zebra here, mail Zebra@example.com!", headers={"x-kindrail-session": "Zebra-1"}, user="Zebra")  # fmt: skip
        await home.ask("I'm Zebra", assistant("Hello Zebra"), "good night, Zebra", metadata={"session_id": "Zebra-2"})
        await home.ask("Hello", tools=["Zebra"])
        await home.ask("Hello", model="Zebra")
        page = (await home.client.get("/metrics")).text
    assert "zebra" not in page.lower()
    found = samples(page)
    assert found["kindrail_turns_total", "answered", "kids-buddy@1"] == 1
    assert found["kindrail_turns_total", "backend_failed", "kids-buddy@1"] == 1
    assert found["kindrail_turns_total", "ended", "kids-buddy@1"] == 1
    assert found["kindrail_refused_requests_total", "400"] == 1
    assert found["kindrail_turns_running",] == 0
    assert found["kindrail_first_byte_seconds_count",] == 2
    assert found["kindrail_rails_seconds_count",] == 3
    for name, used in labels(page).items():
        assert used <= LABELS[name], name
