# Everything is set up inside this folder: Python packages in .venv; npm packages and the servers' data in .embedded.
#
#   make run        runs the whole system with sample data; ARGS="--redis" for the split deployment
#   make test       runs all tests; ARGS="-k name" for some of them, WORKERS=0 for all in one process.
#                   MONGODB=mongodb://… runs those that can run against a replica set or a sharded cluster of yours,
#                   in databases of their own, which they drop
#   make test-fast  runs the tests that start no server, on all cores, with a tenth of the examples
#   make lint       runs ruff and mypy, and checks the imports between rooms and the files for Docker
#   make bench      measures performance; not part of the tests. tests/benchmarks/README.md explains what it prints.
#                   Publishes that add a column to a large table are measured separately:
#                   .venv/bin/python -m tests.benchmarks.added_column
#   make agreement  compares mappings with the embedded MongoDB on new examples, for SECONDS=600 a test
#   make oracle     runs the whole system while things break, for SECONDS=3600 with SEED="1 2 3", which share the time.
#                   REPLAY=FILE repeats a recording; SHRINK=FILE makes a smaller recording that still fails
#   make removals   shows that a test notices when the handling of a fault is taken out; ARGS='--fault Redis' for some
#   make soak       runs the whole system under a steady load, for SECONDS=1800 at RATE=500 writes a second, and shows
#                   whether anything grows
#   make big-things tests transactions of 100,000 operations, documents near 16 MB and long backlogs, and measures the
#                   memory that they take
#   make fuzz       fuzzes the parsers of filters, requests and messages, SECONDS=600 for each target, or TARGET=requests
#   make lock       writes requirements.lock and requirements-dev.lock again, after a change of requirements.txt or
#                   requirements-dev.txt; ARGS=--upgrade also takes newer versions of what those files do not name
#   make audit      looks for known vulnerabilities in the installed packages
#   make editor     builds the JSON editor of admin again, after a change in changesource/admin/editor/
#   make clean      removes what the targets above have made

PYTHON ?= python3
ARGS ?=
# The number of processes that `make test` distributes the test files over. Each has servers of its own. Those beyond the
# number of processors run the files that wait for most of their time, which tests/scheduling.py lists.
WORKERS ?= 3
# Taken from the command line alone: a variable of this name in the environment may be another deployment.
MONGODB =
TARGET ?=
SEED ?=
REPLAY ?=
SHRINK ?=
SECONDS ?= 600
RATE ?= 500

VENV := .venv
VENV_PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
IS_SUPPORTED := import sys; sys.exit(None if (3, 11) <= sys.version_info[:2] < (3, 14) else "Python 3.11, 3.12 or 3.13 is needed and $(PYTHON) is " + sys.version.split()[0] + ". Choose another: make PYTHON=python3.11")

# The commands below name their Python. Another environment that happens to be active must not affect them.
unexport VIRTUAL_ENV PYTHONHOME PYTHONPATH PYTHONDONTWRITEBYTECODE

# The Django plugin of mypy loads the settings, which require a secret key except in development.
lint: export DEBUG = 1

.PHONY: run test test-fast lint lock bench agreement oracle removals soak big-things fuzz audit editor install node clean

run: node
	@exec $(VENV_PYTHON) -m zerosources.embedded $(ARGS)

test: export TEST_MONGODB_URI = $(value MONGODB)
test: node
	@$(VENV_PYTHON) -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-fast: export TEST_FAST = 1
test-fast: install
	@$(VENV_PYTHON) -m pytest --numprocesses auto --dist worksteal -q $(ARGS)

lint: install
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m mypy
	$(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/hadolint docker/Dockerfile
	$(VENV)/bin/check-jsonschema --quiet --builtin-schema vendor.compose-spec docker/compose.yaml

# Covers every supported Python and every platform. The hashes are those of the files on PyPI, whichever mirror is in use.
LOCK := $(VENV)/bin/uv pip compile --no-config --quiet --universal --python-version 3.11 --generate-hashes --no-header $(ARGS)

lock: install
	$(LOCK) requirements-dev.txt --output-file requirements-dev.lock
	$(LOCK) requirements.txt --constraint requirements-dev.lock --output-file requirements.lock

bench: node
	@$(VENV_PYTHON) -m tests.benchmarks $(ARGS)

agreement: node
	@AGREEMENT_SECONDS=$(SECONDS) $(VENV_PYTHON) -m pytest tests/mql/agreement $(ARGS)

oracle: node
	@$(VENV_PYTHON) -m tests.faults --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(if $(REPLAY),--replay $(REPLAY)) $(if $(SHRINK),--shrink $(SHRINK)) $(ARGS)

removals: node
	@$(VENV_PYTHON) -m tests.faults.removals $(ARGS)

soak: node
	@$(VENV_PYTHON) -m tests.soak --seconds $(SECONDS) --rate $(RATE) $(ARGS)

big-things: node
	@BIG_THINGS=1 $(VENV_PYTHON) -m pytest -s tests/faults/test_big_things.py $(ARGS)

fuzz: install
	@$(VENV_PYTHON) -m pip install --disable-pip-version-check --quiet --only-binary :all: -r tests/fuzzing/requirements.txt || \
	  { echo "atheris cannot be installed here: there are wheels for CPython 3.11 to 3.13 on Linux, and this is $$($(VENV_PYTHON) -VV)." >&2; exit 1; }
	@$(VENV_PYTHON) -m tests.fuzzing --seconds $(SECONDS) $(TARGET)

audit: install
	@$(VENV_PYTHON) .ci/audit.py $(ARGS)

editor: export PATH := $(abspath $(VENV)/bin):$(PATH)
editor: install
	@cd changesource/admin/editor && npm ci --ignore-scripts --no-audit --no-fund && node build.mjs

install: $(INSTALLED)

node: install
	@$(VENV_PYTHON) -m zerosources.embedded.node

$(INSTALLED): requirements-dev.lock
	@$(VENV_PYTHON) -c '$(IS_SUPPORTED)' 2>/dev/null || \
	  { $(PYTHON) -c '$(IS_SUPPORTED)' && $(PYTHON) -m venv --clear $(VENV); }
	# Only wheels: the tools that build a source distribution would be fetched without a hash.
	$(VENV_PYTHON) -m pip install --disable-pip-version-check --quiet --require-hashes --only-binary :all: -r requirements-dev.lock
	@touch $@

clean:
	rm -rf $(VENV) .embedded .mypy_cache .ruff_cache .import_linter_cache .pytest_cache .hypothesis staticfiles test-artefacts changesource/admin/editor/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
