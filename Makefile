# make book   executes every notebook and builds the static book        make test   runs the test suite
# Both make the virtual environment first if it is missing or older than its pins. `make help` lists the rest.

PYTHON ?= python3
TORCH  ?= torch==2.13.0
SCALE  ?= recorded

# Paths are relative and programs are run by the environment's Python, so that a space in the checkout's path is harmless.
PY    := .venv/bin/python
STAGE := _build/stage

# An activated environment or a personal Jupyter and pip set-up must not reach into ours.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV PIP_TARGET PIP_USER PIP_REQUIRE_VIRTUALENV JUPYTER_PATH MPLBACKEND
export PYTHONNOUSERSITE := 1
export JUPYTER_PREFER_ENV_PATH := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Other scales than `recorded` train; what they record must not change the checkout.
ifneq ($(SCALE),recorded)
export MISSVAE_RESULTS ?= $(CURDIR)/.runs/results
endif

.PHONY: help book pdf test test-cluster refresh check clean
.DEFAULT_GOAL := help

help:
	@echo 'make book                executes every notebook afresh and builds the book from recorded runs'
	@echo 'make book SCALE=smoke    trains at that scale instead (smoke, laptop or paper; records go to .runs/)'
	@echo 'make pdf                 the same as make book, then prints the book to _build/book.pdf (needs Chromium)'
	@echo 'make test                runs the test suite; without Chromium, pages are not opened in a browser'
	@echo 'make test-cluster        tries the grid on a Slurm cluster made of this machine (root, slurm-wlm, munge)'
	@echo 'make refresh             re-executes the committed notebooks that are stale'
	@echo 'make check               says which committed notebooks are stale, unexecuted or failing'
	@echo 'make clean               removes what was built (environment and records stay)'
	@echo
	@echo 'PYTHON=python3.12 make ...   chooses the interpreter the environment is made from'

# The stamp is written last: an interrupted installation is repeated, a finished one is not.
.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer is needed, found: '"$$($(PYTHON) --version 2>&1)"'. Try: make PYTHON=python3.12 $(MAKECMDGOALS)' >&2; exit 1; }
	@$(PY) -c 'import pip' 2>/dev/null || { echo 'making the environment .venv'; $(PYTHON) -m venv --clear .venv; }
	@echo 'installing the pinned requirements (a few minutes the first time)'
	$(PY) -m pip install --quiet -c constraints.txt $(TORCH) -e '.[book,grid,test]'
	@touch $@

book: .venv/.installed
	@rm -rf $(STAGE)
	$(PY) -m tools.notebooks execute --scale $(SCALE) --out $(STAGE) </dev/null
	@rm -rf _build/html _build/.doctrees
	.venv/bin/jupyter-book build $(STAGE) --path-output . -W -n --keep-going --quiet </dev/null
	@test -f _build/html/index.html || { echo 'jupyter-book wrote no _build/html/index.html' >&2; exit 1; }
	@echo && echo "The book lies at $(CURDIR)/_build/html/index.html"

# The browser is looked for first: the book takes minutes.
pdf: .venv/.installed
	@$(PY) -m tools.pages browser >/dev/null
	@$(MAKE) --no-print-directory book
	$(PY) -m tools.pages pdf

test: .venv/.installed
	$(PY) -m pytest

test-cluster: .venv/.installed
	$(PY) tests/cluster/slurm.py

refresh: .venv/.installed
	$(PY) -m tools.notebooks refresh </dev/null

check: .venv/.installed
	$(PY) -m tools.notebooks check

clean:
	rm -rf _build .pytest_cache .ruff_cache
