# `make demo` and `make test` set up everything they need in .venv, and may be run again at any time.
#
#   make demo              the tutorial: a simulation feeds a network while it runs (FRAMEWORK=keras for Keras)
#   make test              linters, type checker and all tests but the long ones
#   make test-long         the tests that take minutes
#   make test-pythons      the tests that need no framework, on every Python from 3.10 to 3.13 found here
#   make benchmark         measurements, printed as tables
#   make docs              the documentation as a site, build/docs/index.html (docs/about.md says how)
#   make clean             remove what the above made
#
# PYTHON=python3.12 chooses another interpreter; VENV names another environment to go with it; WORKERS=8 runs so many
# tests at a time; RERUNS=0 tries none a second time.

PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13 python3.10; do \
	$$p -c 'import sys; assert sys.version_info >= (3, 10)' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)

# PyTorch's small CPU build is pinned for Python 3.11; elsewhere the demo and the tests use Keras on TensorFlow.
ifeq ($(VERSION),3.11)
FRAMEWORK ?= torch
DEMO_EXTRAS := torch,keras,tutorials
TEST_EXTRAS := torch,test
CHECK_TYPES = $(BIN)/mypy
else
FRAMEWORK ?= keras
DEMO_EXTRAS := keras,tensorflow,tutorials
TEST_EXTRAS := test
# The stubs of the libraries differ from one Python to the next; types are checked for 3.10 against those of one.
CHECK_TYPES = @echo "Types are checked on Python 3.11, where every framework is pinned; this is $(VERSION)."
endif

# Many tests wait for processes of theirs: two at a time take little more than half the time of one, even on two cores.
WORKERS ?= 2
# Tests wait for servers, browsers and schedulers, which a machine may hold up. One that fails is tried once more, and
# named at the end; what fails twice has failed.
RERUNS ?= 1

INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# What an installation is made from; a changed module in C has to be built anew.
INSTALLED = setup.py setup.cfg pyproject.toml constraints.txt $(wildcard smartml/store/module/*.[ch])

.PHONY: demo test lint test-long test-pythons benchmark docs clean python-found

demo: $(VENV)/.demo
	$(BIN)/smartml demo --framework $(FRAMEWORK)

test: lint
	$(BIN)/python -m pytest -m "not long" -n $(WORKERS) --dist loadfile --reruns $(RERUNS) -raR

lint: $(VENV)/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(CHECK_TYPES)

test-long: $(VENV)/.test
	$(BIN)/python -m pytest -m long

test-pythons:
	.ci/test-pythons

benchmark: $(VENV)/.test
	for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

# Built anew as a whole, for what has not changed gives no warning a second time.
docs: $(VENV)/.docs
	rm -rf build/docs
	$(BIN)/python -m sphinx -W --keep-going -q -E -d build/docs-doctrees docs build/docs
	@echo "build/docs/index.html"

$(BIN)/python: | python-found
	$(PYTHON) -m venv $(VENV)

# A stamp each for what is installed. What they depend on makes them stale when the dependencies change.
$(VENV)/.demo: $(INSTALLED) $(BIN)/python
	@echo "Installing smartml[$(DEMO_EXTRAS)] into $(VENV); this takes about a minute the first time."
	$(INSTALL) -e ".[$(DEMO_EXTRAS)]"
	touch $@

$(VENV)/.test: $(INSTALLED) $(BIN)/python
	@echo "Installing smartml[$(TEST_EXTRAS)] into $(VENV); this takes some minutes the first time."
	$(INSTALL) -e ".[$(TEST_EXTRAS)]"
	touch $@

$(VENV)/.docs: $(INSTALLED) $(BIN)/python
	$(INSTALL) -e ".[docs]"
	touch $@

python-found:
	@test -n "$(VERSION)" || { echo "smartml needs Python 3.10 or later, and none was found:" \
		"install it (Debian, Ubuntu: apt-get install python3 python3-venv), or name one by PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) has no venv module:" \
		"install it (Debian, Ubuntu: apt-get install python$(VERSION)-venv)" >&2; exit 1; }

clean:
	rm -rf $(VENV) .venvs build docs/tutorials *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis smartml-demo*
