# Countersign. `make run` and `make test` do everything that they need.

VENV := .venv
PYTHON := $(VENV)/bin/python
LOCK := uv pip compile --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --quiet
# Two workers of the tests for each core, because half of a test's time is waiting; a Redis of yours can serve only one.
export PYTEST_XDIST_AUTO_NUM_WORKERS := $(shell expr 2 '*' $$(getconf _NPROCESSORS_ONLN))
WORKERS := $(if $(REDIS_URL),,-n auto --maxprocesses 8 --dist worksteal)
.DEFAULT_GOAL := help
.PHONY: help run agent test test-fast soak check bench bench-approval bench-leases bench-push bench-inboxes bench-longpoll bench-hidden format lint types contracts migrations docs lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

run: $(VENV)/demo.stamp ## start everything and serve the demo at http://localhost:8000
	@exec $(PYTHON) manage.py up --demo

agent: $(VENV)/demo.stamp ## in a second terminal: a small real agent that asks you
	@exec $(PYTHON) examples/agent.py

test: $(VENV)/dev.stamp ## the whole suite, on real PostgreSQL, Redis and Chromium
	@$(PYTHON) -m tests.support.browser
	@$(PYTHON) -m pytest $(WORKERS)

test-fast: $(VENV)/dev.stamp ## the pure rules alone, without any server, in seconds
	@$(PYTHON) -m pytest -q tests/rules

soak: $(VENV)/dev.stamp ## fuzzing, races, kills and properties, for hours; COUNTERSIGN_SEED repeats a run
	@seed=$${COUNTERSIGN_SEED:-$$(date +%s)}; COUNTERSIGN_SOAK=1 COUNTERSIGN_SEED=$$seed $(PYTHON) -m pytest -m soak --hypothesis-seed=$$seed

check: $(VENV)/dev.stamp ## everything that must pass
	@$(MAKE) -j2 --no-print-directory format-check lint types contracts migrations test-fast
	@$(MAKE) --no-print-directory test

bench: $(VENV)/dev.stamp ## requests per second beside oidc-provider for Node; BENCH="--only code --rounds 3" (needs wrk; a quarter of an hour)
	@$(PYTHON) bench/throughput.py $(BENCH)

bench-approval: $(VENV)/dev.stamp ## from a decision to the tokens, and the cost of an approval, beside the same peer (some minutes)
	@$(PYTHON) bench/approval.py

bench-leases: $(VENV)/demo.stamp ## issue and revoke per second, and 10,000 leases that expire at once (some minutes)
	@$(PYTHON) bench/leases.py

bench-push: $(VENV)/dev.stamp ## from an agent's request to the push service: median and 95th percentile (half a minute)
	@$(PYTHON) bench/push.py

bench-inboxes: $(VENV)/demo.stamp ## a thousand open inboxes on one web process
	@$(PYTHON) bench/inboxes.py

bench-longpoll: $(VENV)/demo.stamp ## five thousand agents that wait on one web process
	@$(PYTHON) bench/longpoll.py

bench-hidden: $(VENV)/dev.stamp ## can the time of an answer tell who exists? (some minutes)
	@$(PYTHON) bench/hidden.py

format: $(VENV)/dev.stamp ## format the code
	@$(PYTHON) -m ruff format .

format-check: $(VENV)/dev.stamp
	@$(PYTHON) -m ruff format --check --quiet .

lint: $(VENV)/dev.stamp ## ruff, our own rules (lint/), and declared dependencies
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m lint
	@$(VENV)/bin/deptry .
	@$(VENV)/bin/deptry . bench --exclude '\.venv' --ignore DEP002,DEP004

types: $(VENV)/dev.stamp ## mypy, strict
	@COUNTERSIGN_TESTING=1 DATA_DIR=$(VENV)/types-data $(PYTHON) -m mypy

contracts: $(VENV)/dev.stamp ## imports go down only
	@COUNTERSIGN_TESTING=1 DATA_DIR=$(VENV)/types-data $(VENV)/bin/lint-imports --no-logo

migrations: $(VENV)/dev.stamp ## every model change has its migration
	@COUNTERSIGN_TESTING=1 DATA_DIR=$(VENV)/types-data $(PYTHON) manage.py makemigrations --check --dry-run

docs: $(VENV)/dev.stamp ## write the generated documents from the code
	@COUNTERSIGN_TESTING=1 DATA_DIR=$(VENV)/types-data $(PYTHON) manage.py write_docs

lock: ## resolve requirements/ and the Node packages of tests and bench anew (needs uv and npm)
	$(LOCK) pyproject.toml -o requirements/product.txt
	$(LOCK) pyproject.toml --group demo -c requirements/product.txt -o requirements/demo.txt
	$(LOCK) pyproject.toml --group dev -c requirements/demo.txt -o requirements/dev.txt
	for folder in tests/node_clients bench/peer; do (cd $$folder && rm -f package-lock.json && \
	npm install --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved --no-audit --no-fund --loglevel=error && \
	node -e 'const fs = require("fs"), name = "package-lock.json", lock = JSON.parse(fs.readFileSync(name)); for (const one of Object.values(lock.packages)) delete one.funding; fs.writeFileSync(name, JSON.stringify(lock, null, 2) + "\n")' \
	) || exit 1; done

clean: ## delete the environment and caches; .data stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache test-output

$(VENV)/bin/python:
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Countersign needs Python 3.11 or newer (python3)."; exit 1; }
	@python3 -m venv $(VENV) || { rm -rf $(VENV); echo "python3 cannot make environments here: apt-get install python3-venv"; exit 1; }

$(VENV)/%.stamp: requirements/%.txt | $(VENV)/bin/python
	@$(PYTHON) -m runtime.install $<
	@touch $@
