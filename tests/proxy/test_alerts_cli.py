"""`kindrail alerts`: lists what is open, and closes it."""

import asyncio

import pytest
from typer.testing import CliRunner

from proxy.alerts import Alerts, Raised
from proxy.cli import app
from proxy.keys import load_keys
from proxy.store import open_store

AT = 1_800_000_000.0
ONE = Raised("a1", AT, AT - 60, "t1", "s1", "home", "kids-buddy@1", "selfharm", "high", False, "it", 2)


@pytest.fixture
def run(redis_url, data):
    settings = {"KINDRAIL_REDIS_URL": redis_url, "KINDRAIL_DATA": str(data)}

    def call(*arguments):
        done = CliRunner().invoke(app, ["alerts", *arguments], env=settings)
        return done.exit_code, done.stdout, done.stderr

    asyncio.run(_prepared(redis_url, data))
    return call


async def _prepared(url, data):
    store = await open_store(url, data)
    await store.redis.flushall()
    alerts, pipe = Alerts(store, load_keys(data), data / "alerts"), store.pipe()
    alerts.put(pipe, ONE)
    await store.run(pipe)
    await store.close()


def test_an_open_alert_is_listed_until_it_is_closed(run):
    code, said, _ = run()
    assert code == 0
    assert said.split() == [
        "a1", "2027-01-15T08:00:00+00:00", "selfharm", "(high)", "tenant", "home", "kids-buddy@1", "it", "turn", "t1",
        "session", "s1", "2", "times,", "not", "delivered",
    ]  # fmt: skip
    assert run("--close", "a1") == (0, "", "")
    assert run() == (0, "", "")


def test_what_is_no_alert_is_a_finding(run):
    assert run("--close", "a1", "--close", "a2") == (1, "", "there is no open alert `a2`\n")


def test_a_store_that_does_not_answer_is_told(data):
    settings = {"KINDRAIL_REDIS_URL": "redis://127.0.0.1:1", "KINDRAIL_DATA": str(data)}
    done = CliRunner().invoke(app, ["alerts"], env=settings)
    assert done.exit_code == 2
    assert "the store does not answer" in done.stderr
