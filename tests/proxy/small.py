"""A policy that is read in no time, and how to see that a process has ended."""

import os
import time
from pathlib import Path

SMALL = """\
policy: small
version: 1
about: Short answers.
audience: adult
languages: [en]
say: {sorry: {en: Sorry.}, fallback: {en: "Yes."}}
rails:
  - {id: clamp, rail: clamp, why: Short answers., sentences: 2, tests: {passes: [{assistant: "One."}]}}
"""
NEXT = SMALL.replace("version: 1", "version: 2").replace("sentences: 2", "sentences: 1")


def written(tmp_path):
    """A folder of policies that has it; it was not touched for a long time."""
    folder = tmp_path / "policies"
    (folder / "flows").mkdir(parents=True)
    (folder / "small.yaml").write_text(SMALL)
    os.utime(folder / "small.yaml", (1e9, 1e9))  # one who polls looks at times, in whole seconds
    return folder


def gone(pid):
    """Whether the process ends within ten seconds; one that waits to be reaped by its parent has ended."""
    for _ in range(500):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False
