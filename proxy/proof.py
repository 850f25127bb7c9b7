"""A policy proved before anybody is held to it: read, checked, and its own tests passed.

As a process of its own, `python -m proxy.proof [--code] ANSWER FILE...`, it writes into the file ANSWER, as JSON, the
digests of what it proved, by file, or else the faults. What a policy's own code prints cannot get among them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson

from proxy.faults import PolicyError
from proxy.policy.load import load_policy
from proxy.policy.model import Policy
from proxy.policy.trial import run_tests

_BEHIND = 10  # by how much the process is nicer than the house, whose turns go first


class Unproved(Exception):
    """A policy whose own tests fail: a line for each, as in `policies/small.yaml:8: clamp: does not trip: ...`."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = list(faults)
        super().__init__("\n".join(self.faults))


def prove(path: Path, code: bool) -> Policy:
    """The policy of the file. code: whether code that stands beside it may be run.

    Raises `PolicyError` for one with faults, `Unproved`, and `OSError` where it cannot be read. Not for a running loop.
    """
    policy = load_policy(path, code=code)
    failures = asyncio.run(run_tests(policy)).failures
    if failures:
        raise Unproved([f"{one.where}: {one.rail}: {one.message}" for one in failures])
    return policy


def main(arguments: Sequence[str]) -> int:
    """Proves the files and writes the answer. Gives the exit code: 0 proved, 1 faults."""
    parser = argparse.ArgumentParser(prog="proxy.proof")
    parser.add_argument("--code", action="store_true")
    parser.add_argument("answer", type=Path)
    parser.add_argument("files", nargs="+", type=Path)
    asked = parser.parse_args(arguments)
    digests: dict[str, str] = {}
    faults: list[str] = []
    for path in asked.files:
        try:
            digests[str(path)] = prove(path, asked.code).digest
        except PolicyError as error:
            faults += map(str, error.faults)
        except Unproved as error:
            faults += error.faults
        except OSError as error:
            faults.append(f"{path}: cannot be read ({error.strerror})")
    asked.answer.write_bytes(orjson.dumps({"faults": faults} if faults else {"digests": digests}))
    return 1 if faults else 0


if __name__ == "__main__":
    os.nice(_BEHIND)
    sys.exit(main(sys.argv[1:]))
