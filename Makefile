# The commands of this project; `make help` lists them. Everything lives in .venv; nothing else is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
REPORT ?= .fault-report
MINUTES ?= 30
PIP := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.PHONY: help run test check systems fmt fault fault-restart fault-database fault-owners fault-shortage fault-soak fuzz \
	fuzz-admin bench bench-graph bench-large bench-neighbours bench-parsing bench-scheduler clean

help:  ## list these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 18

run: $(VENV)/.with-run  ## crawl the demo site's 11,110 pages on this machine
	@$(BIN)/zspiderd run --demo-site examples/article.py

test: $(VENV)/.with-test  ## install what the tests need, then run all of them; TESTS="unit e2e": these folders
	@scripts/install-test-packages
	@$(BIN)/python scripts/run-tests $(TESTS)

fault: $(VENV)/.with-test  ## the tests that kill, stop and cut; SEEDS=100: so many histories of the fault bench
	@scripts/install-test-packages
	@$(BIN)/python $(if $(SEEDS),-m tests.fault.bench --seeds $(SEEDS) --report $(REPORT) $(FAULT),scripts/run-tests fault)

fault-restart: $(VENV)/.with-test  ## restart and kill the master at full speed: nothing lost, nothing fetched twice
	@scripts/install-test-packages
	@$(BIN)/python -m tests.fault.bench.restart $(FAULT)

fault-database: $(VENV)/.with-test  ## a minute without database at full speed: nothing lost, nothing grows
	@scripts/install-test-packages
	@$(BIN)/python -m tests.fault.bench.database $(FAULT)

fault-owners: $(VENV)/.with-test  ## two masters take one database from each other, on MariaDB and Galera: nothing stale
	@scripts/install-test-packages
	@$(BIN)/python -m tests.fault.owners $(FAULT)

fault-shortage: $(VENV)/.with-test  ## every call to the system fails, one after the other: nobody ends, nothing is lost
	@scripts/install-test-packages
	@$(BIN)/python -m tests.fault.shortage --all $(FAULT)

fault-soak: $(VENV)/.with-test  ## full speed with faults for MINUTES=30: nothing grows
	@scripts/install-test-packages
	@$(BIN)/python -m tests.fault.bench.soak --minutes $(MINUTES) $(FAULT)

fuzz: $(VENV)/.with-fuzz  ## throw changed messages at every decoder for SECONDS (120)
	@SECONDS=$(or $(SECONDS),120) $(BIN)/python fuzz/decoders.py

fuzz-admin: $(VENV)/.with-test  ## CALLS=2000 malformed calls of every admin verb to a real master, SEED=1
	@CALLS=$(or $(CALLS),2000) SEED=$(or $(SEED),1) PYTHONPATH=. $(BIN)/python fuzz/admin_door.py

check: $(VENV)/.with-dev  ## format, lint, types, import directions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

systems:  ## run, check and test HEAD in fresh Debian systems (an hour; as root); SYSTEMS="trixie --keep"
	@scripts/on-debian $(SYSTEMS)

fmt: $(VENV)/.with-dev  ## format the code, mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.with-test  ## measure against the bare machine and Scrapy (benchmarks/README.md)
	@scripts/install-test-packages
	@$(BIN)/python -m benchmarks.bench $(BENCH)
	@$(BIN)/python -m benchmarks.large --tasks 1000000

bench-graph: $(VENV)/.with-test  ## the same where every page is found by following links
	@scripts/install-test-packages
	@$(BIN)/python -m benchmarks.bench --job graph $(BENCH)

bench-large: $(VENV)/.with-test  ## ten million waiting tasks in SQLite and in MariaDB (half an hour, 10 GB)
	@scripts/install-test-packages
	@$(BIN)/python -m benchmarks.large --tasks 10000000

bench-neighbours: $(VENV)/.with-test  ## measure a crawl beside a broken script and a dead host
	@scripts/install-test-packages
	@$(BIN)/python -m benchmarks.neighbours $(BENCH)

bench-parsing: $(VENV)/.with-test  ## measure what reading a page costs, beside lxml, parsel and pyquery
	@scripts/install-test-packages
	@$(BIN)/python -m benchmarks.parsing $(BENCH)

bench-scheduler: $(VENV)/.with-test  ## an hour of 1,000 slaves on a simulated clock: shares, rates, cost of a decision
	@$(BIN)/python -m benchmarks.scheduler $(BENCH)

clean:  ## remove what was built, and .venv
	rm -rf $(VENV) $(REPORT) .systems-report benchmarks/.venv-* benchmarks/.work build dist docs/_build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "zspider needs Python 3.11 or later; name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "Python's venv module is missing. Install it as root: apt-get install python3-venv" >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

# Each stamp says: zspider is installed with these extras, as pyproject.toml is now.
$(VENV)/.with-run: pyproject.toml | $(BIN)/python
	@echo "Installing zspider into $(VENV)"
	@$(PIP) -e . && touch $@

$(VENV)/.with-test: pyproject.toml | $(BIN)/python
	@echo "Installing zspider and what its tests need into $(VENV)"
	@$(PIP) -e '.[test]' && touch $@ $(VENV)/.with-run

$(VENV)/.with-fuzz: pyproject.toml | $(BIN)/python
	@echo "Installing zspider and the fuzzer into $(VENV)"
	@$(PIP) -e '.[fuzz]' && touch $@ $(VENV)/.with-run

$(VENV)/.with-dev: pyproject.toml | $(BIN)/python
	@echo "Installing zspider and its development tools into $(VENV)"
	@$(PIP) -e '.[dev]' && touch $@ $(VENV)/.with-run
