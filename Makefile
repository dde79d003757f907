# make demo     play one conversation on each of the three servers
# make windows  try a server in a graphical view
# make test     run the tests
# Each target first creates the virtual environment if that is missing.
PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin/python

.PHONY: demo guide notebooks windows screenshots lint test test-long soak bench bench-quick lock clean
demo: $(VENV)/ready
	@$(RUN) -m harness demo

guide: $(VENV)/ready
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --quiet --config-file lab_guide/mkdocs.yml
	@echo "The guide is in site/. Open site/index.html in a browser, or serve it: $(RUN) -m http.server --bind 127.0.0.1 --directory site"

notebooks: $(VENV)/ready
	@$(RUN) notebooks/open.py

windows: $(VENV)/ready
	@$(RUN) -m implementations.windows

screenshots: $(VENV)/ready
	@$(RUN) -m implementations.windows.screenshots

# Style, likely bugs and types (pyproject.toml says what is asked). `ruff format .` brings the style about.
lint: $(VENV)/ready
	@$(RUN) -m ruff check --quiet .
	@$(RUN) -m ruff format --check --quiet .
	@$(RUN) -m mypy --no-error-summary

test: $(VENV)/ready
	@$(RUN) -m pytest -n 4 --dist loadgroup -m "not long"

# The long tests. First those that mostly wait: each exhibit against its check, hostile programs.
# Then those that compute: windows, figures, notebooks, the guide, the strangers' servers, labs.
WAITS := tests/test_exhibits.py tests/test_check_hostile.py
test-long: $(VENV)/ready
	@$(RUN) -m pytest -n 5 -m long $(WAITS)
	@$(RUN) -m pytest -n 4 --dist loadgroup -m "long and not soak" $(WAITS:%=--ignore=%)

soak: $(VENV)/ready
	@GRUPO_SOAK=100 $(RUN) -m pytest -n 3 tests/test_faults.py -k kill_9
	@GRUPO_SOAK=1 $(RUN) -m pytest -n 1 tests/test_starters.py tests/test_guide.py
	@$(RUN) -m pytest -n 2 -m soak
	@$(RUN) -m harness exhibits --all
	@$(RUN) -m harness exhibits --busy
	@$(RUN) -m harness soak

bench: $(VENV)/ready
	@$(RUN) -m harness bench --text --html bench.html

bench-quick: $(VENV)/ready
	@$(RUN) -m harness bench-quick

# Resolve what the packages in requirements.txt need in turn, for every platform and Python that we support. Versions
# already in requirements.lock stay, unless you say: make lock UPGRADE=--upgrade
lock: $(VENV)/ready
	@$(RUN) -m pip install --quiet --disable-pip-version-check uv
	@UV_CUSTOM_COMPILE_COMMAND="make lock" $(RUN) -m uv pip compile --quiet --universal --python-version 3.11 \
	    --no-annotate $(UPGRADE) requirements.txt --output-file requirements.lock

# The virtual environment. It is made again when one of the two lists changes.
$(VENV)/ready: requirements.txt requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Grupo needs Python 3.11 or newer; this is %s. Name another: make PYTHON=python3.12 demo" % sys.version.split()[0])'
	@$(PYTHON) -m venv $(VENV) || { echo "No virtual environment could be made. On Debian or Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Installing what requirements.txt names into $(VENV) (once)..."
	@$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt -c requirements.lock
	@touch $@

clean:
	rm -rf $(VENV)
