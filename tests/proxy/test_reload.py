"""Policies that change while the house serves: what takes over and when, what is refused, and what is noticed."""

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
from types import SimpleNamespace

import pytest
from house import asking, events_of, house, text_of
from model import Model
from small import NEXT, SMALL, gone, written

from proxy import reload as reloads
from proxy.config import Config, KeyEntry
from proxy.keyring import hashed
from proxy.live import Live
from proxy.metrics import Metrics
from proxy.policy.load import load_policy
from proxy.policy.model import Policy
from proxy.reload import reload, reloading


@pytest.fixture
def folder(tmp_path):
    return written(tmp_path)


@pytest.fixture
def config(folder):
    return Config(policies=folder, policy="small")


@pytest.fixture
def services(folder):
    """What a reload needs of the services."""
    return SimpleNamespace(live=Live.of(load_policy(folder / "small.yaml")), reload=None, metrics=Metrics())


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, "kindrail.reload")
    return caplog


def counted(services):
    """How many reloads ended how."""
    lines = services.metrics.page().decode().splitlines()
    kept = [line for line in lines if line.startswith("kindrail_policy_reloads_total{")]
    return {line.split('"')[1]: int(float(line.split()[1])) for line in kept}


# -- what takes over ---------------------------------------------------------------------------------------------------


class Halting(Model):
    """Halts within its second sentence until it may go on."""

    def __init__(self, *answers):
        super().__init__(*answers)
        self.may = asyncio.Event()

    async def stream(self, ask):
        words = 0
        async for delta in super().stream(ask):
            yield delta
            words += 1
            if words == 4:
                await self.may.wait()


async def test_a_running_turn_keeps_its_version_and_the_next_has_the_new_one(folder, config):
    model = Halting("The bear sat. The moon rose. The owl sang.")
    async with house(model, load_policy(folder / "small.yaml")) as home:
        asked = home.client.stream("POST", "/v1/chat/completions", json=asking(["Hello"], {"stream": True}))
        async with asked as running:
            events = events_of(running)
            begun = [await anext(events), await anext(events)]
            (folder / "small.yaml").write_text(NEXT)
            await reload(config, home.services)
            model.may.set()
            after = await home.ask("Hello")
            begun += [event async for event in events]
    assert running.headers["x-kindrail-policy"] == "small@1"
    assert text_of(begun).strip() == "The bear sat. The moon rose."
    assert begun[-1] == "[DONE]"
    assert after.headers["x-kindrail-policy"] == "small@2"
    assert after.json()["choices"][0]["message"]["content"].strip() == "The bear sat."


async def test_what_was_accepted_is_told(folder, config, services, log):
    (folder / "small.yaml").write_text(NEXT)
    await reload(config, services)
    assert services.live.policy.label == "small@2"
    assert (services.reload.result, services.reload.fault) == ("accepted", "")
    assert counted(services) == {"accepted": 1}
    assert [record.getMessage() for record in log.records] == ["policies reloaded: small@2"]


async def test_a_change_under_the_old_version_is_accepted_and_said(folder, config, services, log):
    await reload(config, services)
    assert "old version" not in log.text
    (folder / "small.yaml").write_text(SMALL.replace("sentences: 2", "sentences: 1"))
    before = services.live.policy
    await reload(config, services)
    assert (services.reload.result, services.live.policy.label) == ("accepted", before.label)
    assert services.live.policy.digest != before.digest
    assert "small@1 has changed under its old version" in log.text


async def test_policies_of_keys_come_and_go(folder, services):
    key = KeyEntry.model_validate({"id": "tablet", "hash": hashed("k"), "policies": ["small*"]})
    config = Config(policies=folder, policy="small", keys=[key])
    (folder / "smaller.yaml").write_text(NEXT.replace("policy: small", "policy: smaller"))
    await reload(config, services)
    assert [policy.label for policy in services.live.policies.values()] == ["small@1", "smaller@2"]
    (folder / "smaller.yaml").unlink()
    await reload(config, services)
    assert (services.live.general, list(services.live.policies)) == ("small", ["small"])


async def test_the_loop_reads_no_file_and_is_stopped_by_no_collection(config, services, monkeypatch):
    threads, collects = set(), set()

    def in_its_thread(action):
        def does(*given, **named):
            threads.add(threading.get_ident())
            collects.add(gc.isenabled() and action is load_policy)
            return action(*given, **named)

        return does

    for name in ("in_service", "load_policy"):
        monkeypatch.setattr(reloads, name, in_its_thread(getattr(reloads, name)))
    await reload(config, services)
    assert services.reload.result == "accepted"
    assert threading.get_ident() not in threads
    assert (collects, gc.isenabled()) == ({False}, True)


async def test_what_was_replaced_is_let_go(folder, config, services):
    for version in range(2, 5):
        (folder / "small.yaml").write_text(SMALL.replace("version: 1", f"version: {version}"))
        await reload(config, services)
    gc.collect()
    assert [one.version for one in gc.get_objects() if isinstance(one, Policy) and one.file == str(folder / "small.yaml")] == [4]  # fmt: skip


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("sentences: 2", "sentnces: 2", "policies/small.yaml:8:"),
        ("passes:", "trips:", "policies/small.yaml:8: clamp: does not trip: 'One.'"),
        ("say: {", "say: ", "policies/small.yaml:6:"),
        (SMALL, "", "policies/small.yaml:1:1: "),
        ("policy: small", "policy: large", "policies/small.yaml:1:9: "),
        (SMALL, None, "no policy (*.yaml) in the folder "),
    ],
    ids=["a fault", "a failing test", "no YAML", "nothing", "another name", "no file"],
)
async def test_a_refused_change_changes_nothing_and_is_named(folder, config, services, log, old, new, fault):
    before, path = services.live, folder / "small.yaml"
    if new is None:
        path.unlink()
    else:
        path.write_text(SMALL.replace(old, new))
    await reload(config, services)
    assert services.live is before
    assert (services.reload.result, services.reload.fault[: len(fault)]) == ("refused", fault)
    assert counted(services) == {"refused": 1}
    assert [record.levelname for record in log.records] == ["ERROR"]
    assert log.text.count(services.reload.fault.replace("policies", str(folder), 1)) == 1
    path.write_text(NEXT)
    await reload(config, services)
    assert (services.live.policy.label, services.reload.fault) == ("small@2", "")


async def test_one_bad_policy_keeps_all_from_being_published(folder, services):
    (folder / "small.yaml").write_text(NEXT)
    (folder / "other.yaml").write_text("policy: other\n")
    await reload(Config(policies=folder, policy="small", keys_in_store=True), services)
    assert services.live.policy.label == "small@1"
    assert services.reload.fault.startswith("policies/other.yaml:1:1: ")


HEARS = "  - {id: crisis, rail: crisis, why: Care., kinds: {emergency: {phrases: danger, say: sorry}}}\n"


@pytest.mark.parametrize(
    ("more", "result"),
    [
        ({"keys_in_store": True}, "refused"),
        ({"keys_in_store": True, "safeguarding_webhook": "https://alerts.example.org"}, "accepted"),
        ({}, "accepted"),  # no keys, no production
    ],
)
async def test_in_production_somebody_is_told_of_the_danger_that_a_new_policy_hears(folder, services, more, result):
    lists = "phrases: {danger: {en: [smoke]}}\nrails:\n"
    (folder / "small.yaml").write_text(NEXT.replace("rails:\n", lists + HEARS))
    await reload(Config(policies=folder, policy="small", **more), services)
    assert services.reload.result == result
    assert services.live.policy.version == (2 if result == "accepted" else 1)
    assert ("safeguarding_webhook is not set" in services.reload.fault) is (result == "refused")


async def test_of_many_faults_some_are_logged(config, services, log, monkeypatch):
    faults = ", ".join(f'"fault {number}."' for number in range(30))
    answering(monkeypatch, config, f"echo '{{\"faults\": [{faults}]}}' > $4")
    await reload(config, services)
    assert (log.text.count("fault "), log.text.count("... and 10 more")) == (20, 1)


# -- the process that proves -------------------------------------------------------------------------------------------


def answering(monkeypatch, config, script):
    """In the place of Python stands a script."""
    path = config.policies.parent / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ("exit 3", "the check broke (exit code 3): `kindrail test` shows why"),
        ("echo Zebra", "the check broke (exit code 0)"),
        ("echo '{' > $4; exit 1", "the check broke (exit code 1)"),
        ("kill -9 $$", "the check broke (exit code -9)"),
        ("exec sleep 60", "the check took longer than 1 seconds"),
        ("yes Zebra", "the check took longer than 1 seconds"),
        ("echo '{\"digests\": {}}' > $4", "policies: the files changed whenever they were checked"),
    ],
)
async def test_a_process_that_does_not_prove_publishes_nothing(config, services, log, monkeypatch, script, fault):
    monkeypatch.setattr(reloads, "_LIMIT", 1.0)
    answering(monkeypatch, config, script)
    before = services.live
    await reload(config, services)
    assert services.live is before
    assert services.reload.fault.startswith(fault)
    assert "Zebra" not in log.text


@pytest.mark.parametrize(("allowed", "flags"), [(False, ""), (True, "--code")])
async def test_policies_run_code_there_only_where_it_is_allowed(config, services, monkeypatch, allowed, flags):
    answering(monkeypatch, config, f"echo $* > {config.policies.parent}/asked")
    await reload(config.model_copy(update={"policy_code": allowed}), services)
    asked = (config.policies.parent / "asked").read_text().split()
    assert asked[:3] == ["-P", "-m", "proxy.proof"]
    assert asked[3:-2] == flags.split()
    assert asked[-1] == str(config.policies / "small.yaml")


@pytest.mark.parametrize("allowed", [False, True])
async def test_policies_run_code_here_only_where_it_is_allowed(config, services, monkeypatch, allowed):
    asked = []
    monkeypatch.setattr(reloads, "load_policy", lambda path, code: asked.append(code) or load_policy(path))
    await reload(config.model_copy(update={"policy_code": allowed}), services)
    assert asked == [allowed]


async def test_what_is_published_is_what_was_proved(folder, config, services, monkeypatch):
    """Files that change behind the process's back are proved again."""
    prove, rounds = reloads._prove, []

    async def proves(*given):
        rounds.append(await prove(*given))
        if len(rounds) == 1:
            (folder / "small.yaml").write_text(NEXT)
        return rounds[-1]

    monkeypatch.setattr(reloads, "_prove", proves)
    await reload(config, services)
    assert (len(rounds), services.live.policy.label) == (2, "small@2")
    assert rounds[0] != rounds[1] == {str(folder / "small.yaml"): services.live.policy.digest}


async def test_an_unforeseen_fault_is_told_without_its_words(config, services, log, monkeypatch):
    def breaks(config):
        raise KeyError("Zebra")

    monkeypatch.setattr(reloads, "in_service", breaks)
    await reload(config, services)
    assert services.reload.fault == "the reload broke (KeyError)"
    assert "Zebra" not in log.text


async def test_a_house_that_closes_ends_the_process_and_what_that_started(folder, config, services, monkeypatch):
    answering(monkeypatch, config, f"sleep 60 & echo $! > {folder.parent}/pid; wait")
    async with reloading(config, services):
        os.kill(os.getpid(), signal.SIGHUP)
        while not (folder.parent / "pid").is_file() or not (folder.parent / "pid").read_text().strip():
            await asyncio.sleep(0.01)
    assert await asyncio.to_thread(gone, int((folder.parent / "pid").read_text()))
    assert services.reload is None
