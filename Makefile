# Every target installs what it needs. `make test PYTHON=python3.13` uses another Python than python3.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The lowest percentage of lines and branches that `make coverage` accepts.
COVERAGE := 80
POSTGRES := command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1

.PHONY: demo test coverage lint format calibrate bench soak clean test-programs
.DELETE_ON_ERROR:

demo: $(VENV)/installed
	$(BIN)/crosslift demo

test: lint test-programs
	$(BIN)/python -m pytest -n auto --dist loadgroup

coverage: $(VENV)/installed-test test-programs
	$(BIN)/python -m pytest -n auto --dist loadgroup --cov --cov-report=term --cov-fail-under=$(COVERAGE)

test-programs:
	@command -v curl >/dev/null || ./.ci/apt curl
	@$(POSTGRES) || ./.ci/apt postgresql
	@command -v chromium >/dev/null || ./.ci/apt chromium
	@command -v npm >/dev/null || ./.ci/apt nodejs npm
	@command -v java >/dev/null || ./.ci/apt default-jre-headless

bench: $(VENV)/installed-bench
	@command -v wrk >/dev/null || ./.ci/apt wrk
	@$(POSTGRES) || ./.ci/apt postgresql
	$(BIN)/python -m benchmarks.assignments
	$(BIN)/python -m benchmarks.in_process
	$(BIN)/python -m benchmarks.events
	@command -v java >/dev/null || ./.ci/apt default-jre-headless
	$(BIN)/python -m benchmarks.reports
	$(BIN)/python -m benchmarks.growth
	$(BIN)/python -m benchmarks.tables
	$(BIN)/python -m benchmarks.spark

calibrate: $(VENV)/installed-test
	$(BIN)/python -m benchmarks.calibration

soak: $(VENV)/installed-test
	@$(POSTGRES) || ./.ci/apt postgresql
	$(BIN)/python -m tests.support.soak

lint: $(VENV)/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/installed-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) demo build *.egg-info

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "crosslift needs Python 3.11 or newer"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { ./.ci/apt python3-venv && $(PYTHON) -m venv --clear $(VENV); }

$(VENV)/installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@ $(VENV)/installed

$(VENV)/installed-bench: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	touch $@ $(VENV)/installed $(VENV)/installed-test
