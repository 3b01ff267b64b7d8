# `make help` lists the targets. Everything runs in .venv, which is built from env/requirements.lock when it is missing
# or older than its lock. Options for a command go into ARGS: make demo ARGS="--once".

VENV := .venv
READY := $(VENV)/.ready
BIN := $(VENV)/bin
ARGS ?=
INPUTS ?= 100000
LONG := long or browser or faults

.DEFAULT_GOAL := help
.PHONY: help setup demo up down status lab test test-long bench bench-live unit fuzz faults worked handover lint format typecheck lock platforms audit clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## Build the environment, nothing else
	@echo "The environment is ready in $(VENV)."

demo: $(READY) ## Start everything and show live figures; ARGS="--input FILE --format rees46 --once" replays a file
	@$(BIN)/retailpulse demo $(ARGS)

up: $(READY) ## Start the servers; ARGS="cassandra" starts one and what it needs
	@$(BIN)/retailpulse up $(ARGS)

down: $(READY) ## Stop the servers
	@$(BIN)/retailpulse down $(ARGS)

status: $(READY) ## Say what runs
	@$(BIN)/retailpulse status $(ARGS)

lab: $(READY) ## Open JupyterLab
	@$(BIN)/retailpulse lab $(ARGS)

test: lint typecheck ## Check style and types, and test the whole on real servers; ARGS="-k dedup" runs some
	@$(BIN)/python -m pytest -m "not ($(LONG))" --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

# One process: much of it kills servers that the other tests use.
test-long: $(READY) ## Run the long tests: a browser, whole notebooks, Airflow, logins, killed servers and jobs
	@$(BIN)/python -m pytest -m "$(LONG)" $(ARGS)

bench: $(READY) ## Measure this machine; ARGS="--quick" tries it, ARGS="--only floor --only metrics --json FILE" some of it
	@$(BIN)/python -m bench $(ARGS)

bench-live: $(READY) ## Measure the live view in a headless Chromium; ARGS="--quick" tries it, ARGS="--soak 10 --json FILE"
	@$(BIN)/python -m bench.live $(ARGS)

unit: $(READY) ## Run the tests that need no server
	@$(BIN)/python -m pytest tests/unit $(ARGS)

fuzz: $(READY) ## Give the parser and the adapters 100,000 inputs; INPUTS=1000000 for more
	@RETAILPULSE_FUZZ=$(INPUTS) $(BIN)/python -m pytest tests/fuzz --timeout 0 $(ARGS)

faults: $(READY) ## Kill servers and jobs, round after round; ARGS="--rounds 5 --seed 7 --report FILE"
	@RETAILPULSE_LONG=1 $(BIN)/python -m pytest tests/faults $(ARGS)

worked: $(READY) ## Promote the six worked notebooks in a demo, and compare what they write with plain folds
	@RETAILPULSE_LONG=1 $(BIN)/python -m pytest tests/integration/test_demo.py -m long -k worked $(ARGS)

handover: $(READY) ## Promote, roll back and kill jobs under a million events; ARGS="--seed 7 --report FILE"
	@RETAILPULSE_LONG=1 $(BIN)/python -m pytest tests/faults/test_handover.py -s $(ARGS)

lint: $(READY) ## Check style
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/lint-imports --no-logo --no-cache

format: $(READY) ## Format the code, and fix what can be fixed
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .

typecheck: $(READY) ## Check types
	@$(BIN)/mypy

# Existing versions are kept; `make lock ARGS=--upgrade` moves them, `ARGS="--upgrade-package rich"` one of them.
lock: $(READY) ## Write env/requirements.lock anew from pyproject.toml
	@$(BIN)/uv pip compile pyproject.toml --all-extras --universal --generate-hashes --no-emit-index-url \
		--custom-compile-command 'make lock' --quiet --output-file env/requirements.lock $(ARGS)

platforms: $(READY) ## Ask the package index and the servers' jars for builds for each platform; writes docs/platforms.md
	@$(BIN)/python -m retailpulse_kernel.machine.platforms

# Strict: what could not be looked up is no package without weaknesses.
audit: $(READY) ## Ask the package index for known weaknesses of the locked packages
	@$(BIN)/uv tool run pip-audit --strict --disable-pip --no-deps --requirement env/requirements.lock $(ARGS)

clean: ## Remove the environment and caches; the servers' data stays (retailpulse down --wipe)
	rm -rf $(VENV) dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.retailpulse/*' -prune -exec rm -rf {} +

# The kernel's and JupyterLab's files are copied into the environment, which an editable install does not follow.
$(READY): pyproject.toml hatch_build.py env/requirements.lock env/bootstrap.sh retailpulse_kernel/kernelspec/kernel.json \
		$(wildcard retailpulse_kernel/lab/extension/*.json retailpulse_kernel/lab/server.json)
	@PYTHON="$(PYTHON)" sh env/bootstrap.sh $(VENV)
	@touch $@
