"""A policy proved in a process of its own: the digests of all its files, or every fault."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from small import SMALL

from proxy.faults import PolicyError
from proxy.policy.load import load_policy
from proxy.proof import Unproved, main, prove

UNKNOWN = SMALL.replace("sentences: 2", "sentnces: 2")
FAILING = SMALL.replace("passes:", "trips:")


@pytest.fixture
def files(tmp_path):
    for name, text in {"small": SMALL, "unknown": UNKNOWN, "failing": FAILING}.items():
        (tmp_path / f"{name}.yaml").write_text(text.replace("policy: small", f"policy: {name}"))
    return tmp_path


def test_what_is_proved_is_the_policy_that_would_be_loaded(files):
    assert prove(files / "small.yaml", code=False).digest == load_policy(files / "small.yaml").digest


def test_a_policy_with_faults_is_not_proved(files):
    with pytest.raises(PolicyError, match=r"unknown\.yaml:8:\d+: `sentnces`"):
        prove(files / "unknown.yaml", code=False)


def test_a_policy_whose_tests_fail_is_not_proved(files):
    with pytest.raises(Unproved, match=r"failing\.yaml:8: clamp: does not trip: 'One\.'") as error:
        prove(files / "failing.yaml", code=False)
    assert len(error.value.faults) == 1


@pytest.fixture
def told(tmp_path):
    """What is answered, with the exit code."""

    def run(*files, flags=()):
        answer = tmp_path / "answer"
        code = main([*map(str, (*flags, answer, *files))])
        return code, json.loads(answer.read_bytes())

    return run


def test_the_answer_for_what_is_proved(files, told):
    path = files / "small.yaml"
    assert told(path) == (0, {"digests": {str(path): load_policy(path).digest}})


def test_the_answer_tells_all_faults_of_all_files_and_no_digest(files, told):
    names = ["unknown", "small", "failing", "none"]
    code, answer = told(*(files / f"{name}.yaml" for name in names))
    assert (code, list(answer)) == (1, ["faults"])
    assert [Path(fault.partition(":")[0]).stem for fault in answer["faults"]] == ["unknown", "failing", "none"]
    assert answer["faults"][-1].endswith("none.yaml: cannot be read (No such file or directory)")


@pytest.mark.parametrize(("flags", "code"), [([], False), (["--code"], True)])
def test_code_is_run_only_where_it_is_allowed(files, told, monkeypatch, flags, code):
    asked = []
    monkeypatch.setattr("proxy.proof.prove", lambda path, code: asked.append(code) or load_policy(path))
    assert told(files / "small.yaml", flags=flags)[0] == 0
    assert asked == [code]


def test_as_a_process_it_stands_behind_the_house(files):
    """Its turns at the processor come after those of the house."""
    look = "import os, runpy; os.nice = print; runpy.run_module('proxy.proof', run_name='__main__')"
    command = [sys.executable, "-c", look, str(files / "answer"), str(files / "small.yaml")]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60)
    assert (done.returncode, int(done.stdout) > 0) == (0, True)
    assert list(json.loads((files / "answer").read_bytes())) == ["digests"]
