"""What the house takes notice of in the folder of policies: what starts a round of reading, and what starts none."""

import asyncio
import logging
import os
import shutil
import signal
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from small import NEXT, SMALL, written

from proxy import reload as reloads
from proxy.config import Config
from proxy.policy.load import load_policy
from proxy.reload import reloading


@pytest.fixture
def folder(tmp_path):
    return written(tmp_path)


@pytest.fixture
def config(folder):
    return Config(policies=folder, policy="small")


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, "kindrail.reload")
    return caplog


# -- what is noticed ---------------------------------------------------------------------------------------------------


@asynccontextmanager
async def noticing(config, monkeypatch, look=0.3):
    """The rounds that the changes in the folder start, and how long to wait for one."""
    begun = asyncio.Queue()

    async def round_(config, services):
        begun.put_nowait(services)

    monkeypatch.setattr(reloads, "reload", round_)
    monkeypatch.setattr(reloads, "_LOOK", look)
    async with reloading(config, SimpleNamespace()):
        await asyncio.sleep(0.3)  # until it watches
        yield begun


def another_folder(folder):
    folder.rename(folder.with_name("old"))
    shutil.copytree(folder.with_name("old"), folder)


def gone_and_back(folder):
    shutil.rmtree(folder)
    asyncio.get_running_loop().call_later(1.0, lambda: (folder.mkdir(), (folder / "small.yaml").write_text(SMALL)))


def replaced(folder):
    (folder / "small.yaml.new").write_text(NEXT)
    (folder / "small.yaml.new").replace(folder / "small.yaml")


CHANGES = {
    "written": lambda folder: (folder / "small.yaml").write_text(NEXT),
    "replaced": replaced,
    "removed": lambda folder: (folder / "small.yaml").unlink(),
    "a flow": lambda folder: (folder / "flows/house.co").write_text("define flow a\n  stop\n"),
    "a flow in a new folder": lambda folder: shutil.copytree(folder / "flows", folder / "more/flows"),
    "recognizers": lambda folder: (folder / "recognizers.yaml").write_text("names: {}\n"),
    "another folder": another_folder,
    "a folder gone and back": gone_and_back,
    "SIGHUP": lambda folder: os.kill(os.getpid(), signal.SIGHUP),
}


@pytest.mark.parametrize("polled", [False, True], ids=["told", "polled"])
@pytest.mark.parametrize("change", CHANGES)
async def test_what_starts_a_round(folder, config, monkeypatch, change, polled):
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "true" if polled else "")
    async with noticing(config, monkeypatch) as begun:
        CHANGES[change](folder)
        await asyncio.wait_for(begun.get(), 10)


async def test_a_link_set_anew_starts_a_round(folder, monkeypatch):
    link = folder.with_name("current")
    link.symlink_to(folder)
    shutil.copytree(folder, folder.with_name("next"))
    async with noticing(Config(policies=link, policy="small"), monkeypatch) as begun:
        folder.with_name("link").symlink_to(folder.with_name("next"))
        folder.with_name("link").replace(link)
        await asyncio.wait_for(begun.get(), 10)
        await asyncio.sleep(0.3)
        (folder.with_name("next") / "small.yaml").write_text(NEXT)
        await asyncio.wait_for(begun.get(), 10)


async def test_many_changes_are_one_round(folder, config, monkeypatch):
    async with noticing(config, monkeypatch) as begun:
        for version in range(10):
            (folder / "small.yaml").write_text(SMALL.replace("version: 1", f"version: {version}"))
            await asyncio.sleep(0.02)
        await asyncio.wait_for(begun.get(), 10)
        await asyncio.sleep(1.0)
        assert begun.empty()


async def test_what_starts_none(folder, config, monkeypatch):
    async with noticing(config, monkeypatch) as begun:
        load_policy(folder / "small.yaml")
        (folder / "__pycache__").mkdir()
        (folder / "__pycache__/actions.cpython-311.pyc").write_bytes(b"x")
        (folder / ".small.yaml.swp").write_bytes(b"x")
        await asyncio.sleep(1.0)
        assert begun.empty()


async def test_a_folder_that_cannot_be_watched_is_said_once_and_sighup_still_works(folder, config, monkeypatch, log):
    def breaks(*given, **named):
        raise OSError("Zebra")

    monkeypatch.setattr(reloads, "awatch", breaks)
    async with noticing(config, monkeypatch, look=0.05) as begun:
        assert begun.empty()
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.wait_for(begun.get(), 10)
    assert log.text.count("cannot be watched (OSError): until it can, SIGHUP reloads") == 1
    assert "Zebra" not in log.text
