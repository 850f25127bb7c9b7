"""NeMo behind `rails._colang.nemo`: nobody's code runs, nothing is contacted, nothing is logged. Each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TRAP = "open({trap!r}, 'w').write('sprung')\n"
LLM_RAILS = """
from rails._colang.nemo import RailsConfig
from nemoguardrails import LLMRails
rails = LLMRails(RailsConfig.from_content("define flow greet\\n  bot hello\\n", "models: []"))
"""


def run(script, cwd):
    """The output of a script, run with none of the settings that would quiet NeMo anyway."""
    quiet = ("NEMO_GUARDRAILS_NO_USAGE_STATS", "DO_NOT_TRACK", "CI")
    env = {name: value for name, value in os.environ.items() if name not in quiet} | {
        "PYTHONPATH": str(ROOT), "HOME": str(cwd), "XDG_CONFIG_HOME": str(cwd),
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", script], cwd=cwd, env=env, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_no_code_of_the_working_directory_or_of_a_configuration_is_run(tmp_path):
    trap, here, elsewhere = tmp_path / "sprung", tmp_path / "here", tmp_path / "elsewhere"
    for folder in (here, elsewhere):
        (folder / "actions").mkdir(parents=True)
        (folder / "actions.py").write_text(TRAP.format(trap=str(trap)))
        (folder / "actions" / "more.py").write_text(TRAP.format(trap=str(trap)))
    dispatch = (
        f"{LLM_RAILS}\nfrom nemoguardrails.actions.action_dispatcher import ActionDispatcher\n"
        f"known = ActionDispatcher(config_path={str(elsewhere)!r}, import_paths=[{str(elsewhere)!r}])\n"
        "print(known.has_registered('create_event'), rails.runtime.action_dispatcher.has_registered('create_event'))"
    )
    assert "True True" in run(dispatch, here)  # NeMo's own are still there
    assert not trap.exists()


def test_nothing_is_contacted_and_nothing_is_left_behind(tmp_path):
    forbidden = """
import socket, sys
told = []
def refuse(*wanted, **more):
    told.append(wanted)
    raise OSError("no network")
socket.getaddrinfo = socket.create_connection = socket.socket.connect = socket.socket.connect_ex = refuse
"""
    script = f"{forbidden}{LLM_RAILS}\nimport asyncio, threading, time\ntime.sleep(2)\nprint('contacted', told)"
    script += "\nprint([one.name for one in threading.enumerate() if one is not threading.main_thread()])"
    assert run(script, tmp_path).splitlines() == ["contacted []", "[]"]
    assert list(tmp_path.iterdir()) == []


def test_no_text_is_logged_even_where_the_house_logs_everything(tmp_path):
    script = """
import asyncio, logging
logging.basicConfig(level=logging.NOTSET)
from rails._colang.nemo import ActionDispatcher
async def fails(text):
    raise ValueError("what the child said")
known = ActionDispatcher(load_all_actions=False)
known.register_action(fails, "fails")
print(asyncio.run(known.execute_action("fails", {"text": "what the child said"})))
"""
    told = run(script, tmp_path)
    assert "(None, 'failed')" in told
    assert "what the child said" not in told
