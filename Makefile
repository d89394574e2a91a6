# make run      set up, execute the series on the data that is there, write pages to build/
# make test     set up, then every test (test-unit, test-notebooks, test-site, test-demo: one part)
# make lab      the notebooks in JupyterLab
# make data     download MovieLens-1M to data/ml-1m
# make check    what is wrong with this installation
# make publish  execute what is stale on MovieLens-1M and store the outputs in notebooks/
# make refresh  regenerate navigation and tables from what is stored
# make site     the series as a blog, site/_build/html
# make demo     the recommender page, site/demo/dist
# make links    every address that the series links to (needs the network)
# make posts    the series as posts for Jekyll, build/posts
# make bench    every stage against the plain way and other libraries (ten minutes, a quiet machine)
# make lock     the hashes of all packages; make audit: known vulnerabilities (both need the network)

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
TEST_READY := .venv/.test-ready
SITE_READY := .venv/.site-ready
LOCKED := python -m pip install --disable-pip-version-check --quiet --require-hashes
PIP := $(BIN)/$(LOCKED)
DATA ?= auto
JOBS ?= 2
# The folders and files with the longest tests come first.
PARALLEL := -n $(JOBS) --dist loadscope --no-loadscope-reorder

# A test run says nothing about the reader's own data: it is always the embedded sample.
# One thread a process: two processes with two threads each on two cores wait for each other.
TEST_ENV := RECFORMER_DATASET=sample OMP_NUM_THREADS=1

.PHONY: help setup run test test-unit test-nightly test-notebooks test-published links \
	test-site test-demo test-realdata lab data check site demo posts publish refresh clean \
	lock audit bench

help:
	@sed -n 's/^# make /make /p' Makefile

setup: $(READY)

$(READY): requirements.lock requirements-torch.lock requirements-cpu.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed, $(PYTHON) is $$($(PYTHON) -V). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up .venv (a few minutes the first time; PyTorch is the large part)"
	@# A set-up that was killed leaves half-installed packages, which pip cannot repair: start again.
	@test ! -e .venv/.unfinished && $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@touch .venv/.unfinished
	$(PIP) --no-compile -r requirements.lock
	@# PyTorch's build for CPUs where pip is told of a place that has it, else the usual one.
	$(PIP) --no-compile --no-deps -r requirements-cpu.lock 2>/dev/null || \
		$(PIP) --no-compile -r requirements.lock -r requirements-torch.lock
	@# pip compiles with one core, this with all; a file that is none of Python's is left out.
	@$(BIN)/python -m compileall -q -j 0 .venv/lib >/dev/null || true
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@rm .venv/.unfinished
	@touch $(READY)

run: setup
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m tools.series run --jobs $(JOBS)

test: test-unit test-notebooks test-site test-demo

$(TEST_READY): $(READY) requirements-test.lock
	$(PIP) -r requirements-test.lock
	@touch $(TEST_READY)

test-unit: $(TEST_READY)
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check .
	$(TEST_ENV) $(BIN)/python -m pytest tests --ignore tests/site --ignore tests/demo -m "not realdata" $(PARALLEL)

# Every kill that there is, and 2,500 damaged inputs a test; about an hour on two cores. Its table is in
# docs/reliability.md.
test-nightly: $(TEST_READY) $(SITE_READY)
	RECFORMER_FAULTS=long $(TEST_ENV) $(BIN)/python -m pytest tests/faults tests/fuzz \
		tests/site/test_site_killed.py --hypothesis-profile=nightly -rs

test-notebooks: $(TEST_READY)
	$(TEST_ENV) $(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=300 \
		-n $(JOBS) --dist loadscope notebooks

# Builds the site and the posts; what needs a browser or Jekyll says so where there is none.
test-site: $(TEST_READY) $(SITE_READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/site -rs $(PARALLEL)

test-realdata: $(TEST_READY) $(SITE_READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests --ignore tests/site -m realdata $(PARALLEL)

# Executes the series on MovieLens-1M and compares every finding with the stored one (bands in
# tools/notebooks.py); about a quarter of an hour.
test-published: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m tools.series compare

lab: setup
	$(BIN)/python -m jupyterlab --ServerApp.root_dir=. \
		--ServerApp.contents_manager_class=tools.lab.Contents notebooks/01_exploration.ipynb

data: setup
	$(BIN)/python -m recformer_utils.movielens

check: setup
	$(BIN)/python -m tools.check

demo: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m tools.demo --data $(DATA)

test-demo: $(TEST_READY) $(SITE_READY)
	$(TEST_ENV) $(BIN)/python -m pytest tests/demo -m "not realdata" -rs $(PARALLEL)

publish: setup
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m tools.series publish

# The peers need old packages, so each has an environment of its own.
PEERS := benchmarks/.peers
bench: setup $(PEERS)/rectools/.ready $(PEERS)/recbole/.ready
	$(BIN)/python -m benchmarks.bench --data $(DATA)
	$(BIN)/python -m benchmarks.bench --memory --data $(DATA)
	$(BIN)/python -m tools.series refresh

$(PEERS)/%/.ready: benchmarks/peers/%.txt
	@test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --disable-pip-version-check --quiet -r $<
	@touch $@

refresh: setup
	$(BIN)/python -m tools.series refresh

$(SITE_READY): $(READY) site/requirements.lock
	$(PIP) -r site/requirements.lock
	@touch $(SITE_READY)

site: $(SITE_READY)
	$(BIN)/python -m tools.site

links: $(SITE_READY)
	$(BIN)/python -m tools.site --links

posts: $(SITE_READY)
	$(BIN)/python -m tools.posts

# The supply chain. Both need the package index; audit also asks its list of vulnerabilities,
# and fails where it cannot.
SUPPLY := build/supply
SUPPLY_READY := $(SUPPLY)/.ready

$(SUPPLY_READY): tools/requirements.lock
	$(PYTHON) -m venv --clear $(SUPPLY)
	$(SUPPLY)/bin/$(LOCKED) -r tools/requirements.lock
	@touch $(SUPPLY_READY)

lock: $(SUPPLY_READY)
	$(SUPPLY)/bin/python -m tools.lock

audit: $(SUPPLY_READY)
	for lock in requirements*.lock site/requirements.lock tools/requirements.lock; do \
		$(SUPPLY)/bin/pip-audit -r $$lock --require-hashes --disable-pip --strict || exit 1; done
	npm audit --prefix site --package-lock-only

clean:
	rm -rf build site/_build site/demo/dist
