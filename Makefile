# make demo     play one conversation on each of the three servers
# make windows  try a server in a graphical view
# make ready    try the main parts in about a minute
# make test     run the tests
# Each target first installs what it needs and what is missing, into the virtual environment.
PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin/python
# $(call with,GROUPS): groups of packages, by their headings in requirements.txt
with    = $(VENV)/ready $(1:%=$(VENV)/ready-%)
# The user's settings for other programs in Python, and for other tests
unexport PYTHONHOME PYTHONPATH PYTHONSAFEPATH PYTHONOPTIMIZE PYTHONWARNINGS $(filter PYTEST_%,$(.VARIABLES))

# pip runs once at a time
.NOTPARALLEL:
.PHONY: demo compare guide notebooks windows screenshots lint ready test test-long soak bench bench-quick lock clean
demo: $(VENV)/ready
	@$(RUN) -m harness demo

compare: $(call with,figures)
	@$(RUN) -m harness compare --html compare.html

guide: $(call with,guide)
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --quiet --config-file lab_guide/mkdocs.yml
	@echo "The guide is in site/. Open site/index.html in a browser, or serve it: $(RUN) -m http.server --bind 127.0.0.1 --directory site"

notebooks: $(call with,figures notebooks)
	@$(RUN) notebooks/open.py

windows: $(VENV)/ready
	@$(RUN) -m implementations.windows

screenshots: $(VENV)/ready
	@$(RUN) -m implementations.windows.screenshots

# Style, likely bugs and types (pyproject.toml says what is asked). `ruff format .` brings the style about.
lint: $(call with,lint)
	@$(RUN) -m ruff check --quiet .
	@$(RUN) -m ruff format --check --quiet .
	@$(RUN) -m mypy --no-error-summary

# Some tests of each part, for a newcomer: the servers, the checks, the client, the windows.
READY := $(addprefix tests/test_,demo.py protocol_dialogues.py check_command.py client.py windows.py)
ready: $(call with,tests)
	@$(RUN) -m pytest -n 4 --dist loadgroup -m "not long" $(READY)
	@echo "Grupo is ready on this machine. All its tests: make test"

test: $(call with,figures grading notebooks guide tests)
	@$(RUN) -m pytest -n 4 --dist loadgroup -m "not long"

# The long tests. First those that mostly wait: each exhibit against its check, hostile programs.
# Then those that compute: windows, figures, notebooks, the guide, the strangers' servers, labs.
WAITS := tests/test_exhibits.py tests/test_check_hostile.py
test-long: $(call with,figures perfetto grading notebooks guide bench tests browser cluster)
	@$(RUN) -m pytest -n 5 -m long $(WAITS)
	@$(RUN) -m pytest -n 4 --dist loadgroup -m "long and not soak" $(WAITS:%=--ignore=%)

soak: $(call with,figures perfetto grading notebooks guide bench tests browser)
	@GRUPO_SOAK=100 $(RUN) -m pytest -n 3 tests/test_faults.py -k kill_9
	@GRUPO_SOAK=1 $(RUN) -m pytest -n 1 tests/test_starters.py tests/test_guide.py
	@$(RUN) -m pytest -n 2 -m soak
	@$(RUN) -m harness exhibits --all
	@$(RUN) -m harness exhibits --busy
	@$(RUN) -m harness soak
	@$(RUN) -m harness mutants --sample 300 --minutes 5

bench: $(call with,figures bench)
	@$(RUN) -m harness bench --text --html bench.html

bench-quick: $(VENV)/ready
	@$(RUN) -m harness bench-quick

# Resolve what the packages in requirements.txt need in turn, for every platform and Python that we support. Versions
# already in requirements.lock stay, unless you say: make lock UPGRADE=--upgrade
lock: $(VENV)/ready
	@$(RUN) -m pip install --quiet --disable-pip-version-check uv
	@UV_CUSTOM_COMPILE_COMMAND="make lock" $(RUN) -m uv pip compile --quiet --universal --python-version 3.11 \
	    --no-annotate $(UPGRADE) requirements.txt --output-file requirements.lock

# After an upgrade of the system's Python, the environment lacks pip and all that was installed: it is not ready.
FORGET := $(shell [ ! -e $(VENV)/ready ] || $(RUN) -I -c 'import pip' 2>/dev/null || rm -f $(VENV)/ready* 2>/dev/null)

# The virtual environment, with the groups that every command needs. What changes in a list is installed again.
LISTS := requirements.txt requirements.lock requirements.py
$(VENV)/ready: $(LISTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Grupo needs Python 3.11 or newer; this is %s. Name another: make PYTHON=python3.12 demo" % sys.version.split()[0])'
	@$(RUN) -I -c 'import pip' 2>/dev/null || [ ! -e $(VENV)/pyvenv.cfg ] || rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) || { echo "No virtual environment could be made; Python says why above. If it lacks ensurepip, on Debian or Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Installing what Grupo needs into $(VENV) (once)..."
	@$(RUN) requirements.py servers core
	@touch $@

# Another group: make install-figures
install-%: $(VENV)/ready-% ;
$(VENV)/ready-%: $(VENV)/ready $(LISTS)
	@echo "Installing the packages of the group $* into $(VENV) (once)..."
	@$(RUN) requirements.py $*
	@touch $@
.PRECIOUS: $(VENV)/ready-%

# What grading on a cluster needs has a list of its own: the workers need it, too.
$(VENV)/ready-cluster: $(VENV)/ready requirements-cluster.txt
	@echo "Installing the packages of requirements-cluster.txt into $(VENV) (once)..."
	@$(RUN) -m pip --disable-pip-version-check install -c requirements.lock -r requirements-cluster.txt
	@touch $@

clean:
	rm -rf $(VENV)
