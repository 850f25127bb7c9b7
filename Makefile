# Everything a contributor or an operator runs. Each target sets up what it needs; a second run starts in seconds.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test check test-nightly test-real test-compose bench-chain bench-colang train lock clean

run: .venv/run.stamp            ## serve on 127.0.0.1:8080 with the embedded store and the scripted buddy
	@$(BIN)/kindrail serve

test: .venv/dev.stamp           ## the fast tests, file by file on two cores
	@$(BIN)/python -m pytest -n 2 --dist loadfile

check: .venv/dev.stamp          ## format, lint, types, shipped policies with their tests, documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/kindrail check
	$(BIN)/kindrail test
	$(BIN)/python -m proxy.policy.docs --check docs/rails.md

test-nightly: .venv/dev.stamp   ## the property tests with 20,000 examples each
	HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest -m "" -k property --timeout 3600

test-real: .venv/dev.stamp      ## a real vLLM on this machine, and real clients (see docs/testing.md)
	$(BIN)/python -m pytest -rs -m "real or clients" --timeout 600

test-compose: .venv/dev.stamp   ## the compose stack on a real Docker engine (see docs/testing.md)
	$(BIN)/python -m pytest -rs -m compose --timeout 1800

bench-chain: .venv/dev.stamp    ## what the rails of a child policy cost a message
	@$(BIN)/python -W ignore::DeprecationWarning tests/bench/chain.py

bench-colang: .venv/dev.stamp   ## what Colang flows cost, beside NeMo's own path
	@$(BIN)/python -W ignore::DeprecationWarning tests/bench/colang.py

train: .venv/train.stamp        ## the learned model anew, its bars and its card: minutes on two cores
	$(BIN)/python -m pytest tests/training
	$(BIN)/python -m training.train
	$(BIN)/python -m training.bars
	$(BIN)/python -m training.score

lock:                           ## names, versions and hashes, no index address
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-annotate --no-header -o requirements.txt -q
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --no-annotate --no-header -c requirements.txt -o requirements-dev.txt -q
	cd tests/clients && for f in *.in; do uv pip compile $$f --universal --python-version 3.11 --generate-hashes --no-annotate --no-header -o $${f%.in}.txt -q; done

clean:
	rm -rf .venv .kindrail *.egg-info

.venv/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"Kindrail needs Python 3.11 to 3.13, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv

.venv/run.stamp: requirements.txt pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv/dev.stamp: requirements-dev.txt .venv/run.stamp | .venv/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

# Not locked by hashes: torch's file for a machine without a GPU is another one everywhere, and nothing of it is shipped.
.venv/train.stamp: training/requirements.txt .venv/dev.stamp
	$(BIN)/python -m pip install -q --disable-pip-version-check -r training/requirements.txt
	@touch $@
