# `make demo`, `make test`, `make calibrate`, `make bench` and `make soak` each set up all they need. PYTHON=python3.13 takes another Python than python3.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
POSTGRES := command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1

.PHONY: demo test lint format calibrate bench soak clean
.DELETE_ON_ERROR:

demo: $(VENV)/installed
	$(BIN)/crosslift demo

test: lint
	@command -v curl >/dev/null || ./.ci/apt curl
	@$(POSTGRES) || ./.ci/apt postgresql
	@command -v chromium >/dev/null || ./.ci/apt chromium
	@command -v npm >/dev/null || ./.ci/apt nodejs npm
	@command -v java >/dev/null || ./.ci/apt default-jre-headless
	$(BIN)/python -m pytest -n auto --dist loadgroup

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
