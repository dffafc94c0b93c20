# Two commands on a fresh machine: `make demo` and `make test`. Both set up a virtual environment first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Real image sets, when a checkout has them beside it; tests that need them skip, with a reason, when it is absent.
FAROUT_DATA ?= $(wildcard $(CURDIR)/../shared/data)
export FAROUT_DATA
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: demo test test-all browser check format clean
demo: $(STAMP)
	$(BIN)/farout demo --out runs/demo --force

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 -q

test-all: $(STAMP)
	$(BIN)/python -m pytest -n 2 -q -m "slow or not slow"

# What the tests of pages need: a browser with its driver (Debian's packages), what drives it, and Panel for the page of
# `farout explore`. Without, they skip.
browser: $(STAMP)
	command -v chromium >/dev/null && command -v chromedriver >/dev/null || { $(SUDO) apt-get update && \
		$(SUDO) apt-get install --yes --no-install-recommends chromium chromium-driver; }
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev,browser,explore]"

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
