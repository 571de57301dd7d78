# `make` alone prints the targets. Everything else happens in bootstrap.py, which needs a bare python3 and nothing more.
PYTHON ?= python3
PY := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help run test chaos bench diffusers test-diffusers test-payload check types migrate migration shell screenshots lock

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

run:  ## set everything up and serve the platform on http://127.0.0.1:8000 (HOST, PORT, DATA_DIR)
	@exec $(PYTHON) bootstrap.py run

test:  ## all that CI runs: ruff, mypy, import-linter, the whole suite
	@exec $(PYTHON) bootstrap.py test

chaos:  ## 1,000 jobs, and uploads and deletions, while workers, web, Redis, S3 and database sessions are killed (CHAOS_JOBS, CHAOS_SECONDS, CHAOS_SEED)
	@$(PYTHON) bootstrap.py setup --dev
	@CHAOS_JOBS=$${CHAOS_JOBS:-1000} CHAOS_SECONDS=$${CHAOS_SECONDS:-120} exec $(PY) -m pytest tests/chaos

bench:  ## everything measured, beside its limits and peers, in one table (NAME=media,studio for some of it; BENCH_ROUNDS)
	@$(PYTHON) bootstrap.py setup --dev
	@exec $(PY) -m bench $(NAME)

diffusers: .venv-diffusers/installed  ## the libraries of generation on a GPU, in .venv-diffusers (3 GB; TORCH=... for another torch, say a build for the CPU)

test-diffusers: .venv-diffusers/installed  ## the diffusers provider with the real libraries: tiny random pipelines on the CPU
	@$(PYTHON) bootstrap.py setup --dev
	@DIFFUSERS_PYTHON=$(CURDIR)/.venv-diffusers/bin/python exec $(PY) -m pytest tests/generation/providers/test_diffusers_real.py

.venv-diffusers/installed: requirements-torch.lock requirements-diffusers.lock
	$(PYTHON) -m venv --clear .venv-diffusers
	.venv-diffusers/bin/python -m pip install $(or $(TORCH),$(PINNED) -r requirements-torch.lock)
	.venv-diffusers/bin/python -m pip install $(PINNED) -r requirements-diffusers.lock
	@touch $@

test-payload:  ## the tasks' results in a real PayloadCMS 3, which is installed for it into tests/payload
	@$(PYTHON) bootstrap.py setup --dev
	@cd tests/payload && PATH="$(CURDIR)/.venv/bin:$$PATH" npm ci --ignore-scripts
	@TEST_PAYLOAD=1 exec $(PY) -m pytest tests/payload

check:  ## the same without the tests
	@exec $(PYTHON) bootstrap.py check

types:  ## mypy alone
	@exec $(PYTHON) bootstrap.py types

migrate:  ## bring the database of the running platform to the newest schema
	@exec $(PY) -m backend.cli migrate

migration:  ## write a migration from the models: make migration m="add a column"
	@test -n "$(m)" || { echo 'say what it does: make migration m="add a column"' >&2; exit 1; }
	@exec $(PY) -m backend.cli migration "$(m)"

shell:  ## a Python prompt inside the running platform
	@exec $(PY) -m backend.cli shell

screenshots:  ## every page in light and dark, into screenshots/
	@$(PYTHON) bootstrap.py setup --dev
	@exec $(PY) -m tests.screenshots

lock:  ## resolve the dependencies anew and lock them with their hashes
	$(PYTHON) bootstrap.py setup --dev
	$(PY) -m uv pip compile $(LOCK) -o requirements.lock
	$(PY) -m uv pip compile $(LOCK) --extra local -o requirements-local.lock
	$(PY) -m uv pip compile $(LOCK) --extra local --extra dev -o requirements-dev.lock
	$(PY) -m uv pip compile $(LOCKED) --group node -o requirements-node.lock
	$(PY) -m uv pip compile $(LOCKED) --group torch -o requirements-torch.lock
	echo "torch ; python_version < '3'" > .venv/without-torch.txt
	$(PY) -m uv pip compile $(LOCKED) --group diffusers --override .venv/without-torch.txt -c requirements-torch.lock -o requirements-diffusers.lock
	$(PY) -m uv pip compile $(LOCKED) --group coach -c requirements.lock -o requirements-coach.lock
	$(PY) -m uv pip compile $(LOCKED) --group pose-model --no-deps -o requirements-model.lock
	npm install --package-lock-only --ignore-scripts

PINNED := -q --require-hashes --no-deps
LOCKED := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q
LOCK := pyproject.toml $(LOCKED)
