# Two commands on a fresh machine: `make demo` and `make test`. Both set up a virtual environment first, of releases that
# constraints*.txt lists with the hashes of their files; a file with another hash is refused.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Real image sets, when a checkout has them beside it; tests that need them skip, with a reason, when it is absent.
FAROUT_DATA ?= $(wildcard $(CURDIR)/../shared/data)
export FAROUT_DATA
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

# Tests that use every dependency, for other releases of them: examples of all modules, readers, tables, plots, runs.
WIDE := src tests/base tests/data tests/columns tests/plots tests/runs tests/test_check_estimator.py

.PHONY: demo test test-all test-oldest test-newest ray browser docs docs-links check format dist lock audit clean
demo: $(STAMP)
	$(BIN)/farout demo --out runs/demo --force

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 -q

# The three environments are set up side by side: each by itself keeps one core busy.
test-all:
	$(MAKE) --jobs=3 ray $(VENV)-oldest/.installed $(VENV)-newest/.installed
	$(MAKE) test-oldest test-newest
	$(BIN)/python -m pytest -n 2 --dist worksteal -q -m "slow or not slow"

# With the oldest releases that pyproject.toml allows. Torch is that of constraints.txt, for builds without CUDA are not
# everywhere to be had; `make test-oldest TORCH=2.6.0` takes another, with its gigabytes of CUDA libraries.
test-oldest: $(VENV)-oldest/.installed
	$(if $(TORCH),$(VENV)-oldest/bin/pip install --quiet torch==$(TORCH))
	$(VENV)-oldest/bin/python -m pytest -n 2 -q $(WIDE)

# With the newest releases there are, torch excepted.
test-newest: $(VENV)-newest/.installed
	$(VENV)-newest/bin/python -m pytest -n 2 -q $(WIDE)

# What the tests of Ray need. Without, they skip.
ray: $(STAMP)
	$(BIN)/pip install --quiet --require-hashes --no-deps --requirement constraints-ray.txt

# What the tests of pages need: a browser with its driver (Debian's packages), what drives it, and Panel for the page of
# `farout explore`. Without, they skip.
browser: $(STAMP)
	command -v chromium >/dev/null && command -v chromedriver >/dev/null || { $(SUDO) apt-get update && \
		$(SUDO) apt-get install --yes --no-install-recommends chromium chromium-driver; }
	$(BIN)/pip install --quiet --require-hashes --no-deps --requirement constraints-pages.txt

# The site, in docs/_build/html; a warning is an error.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	$(BIN)/python docs/check_links.py

# Addresses outside the site too: asks the network.
docs-links: $(VENV)/.docs
	FAROUT_GALLERY=0 $(BIN)/python -m sphinx -q -b linkcheck docs docs/_build/linkcheck

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# A source archive, and a wheel built from it.
dist: $(STAMP)
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist

# The newest releases that go together, of what pyproject.toml asks for, with the hashes of all their files. Releases that
# are listed already stay, unless UPGRADE=1. Needs the package index.
lock: $(VENV)-lock/.installed
	$(VENV)-lock/bin/python .ci/lock.py $(if $(UPGRADE),--upgrade)

# Known vulnerabilities of the listed releases. Needs the index's list of them: fails where it can't be asked.
audit: $(VENV)-lock/.installed
	for list in constraints.txt constraints-cuda.txt constraints-pages.txt constraints-peers.txt constraints-docs.txt constraints-ray.txt; do \
		$(VENV)-lock/bin/pip-audit --strict --disable-pip --require-hashes --requirement $$list || exit 1; done

$(STAMP): pyproject.toml constraints.txt constraints-build.txt
	bash .ci/install "$(PYTHON)" $(VENV) constraints.txt
	touch $@

$(VENV)/.docs: $(STAMP) constraints-docs.txt
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps --requirement constraints-docs.txt
	touch $@

$(VENV)-oldest/.installed: pyproject.toml constraints-oldest.txt
	bash .ci/install "$(PYTHON)" $(VENV)-oldest constraints-oldest.txt
	touch $@

$(VENV)-newest/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-newest
	$(VENV)-newest/bin/pip install --quiet --upgrade --upgrade-strategy eager "$$(grep --only-matching '^torch==[^ ]*' constraints.txt)" \
		--editable ".[dev]"
	touch $@

$(VENV)-lock/.installed: Makefile
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install --quiet "uv>=0.11" "pip-audit>=2.9"
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-oldest $(VENV)-newest $(VENV)-lock dist runs
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
