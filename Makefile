# make demo     play one conversation on each of the three servers
# make windows  try a server in a graphical view
# make ready    try the main parts in about a minute
# make test     run the tests
# Each target first installs what it needs and what is missing, into the virtual environment.
include setup.mk
.DEFAULT_GOAL := demo

.PHONY: demo compare guide notebooks windows screenshots lint ready test test-long soak bench bench-quick lock clean
demo: $(VENV)/ready
	@$(RUN) -m harness demo

compare: $(call with,figures)
	@$(RUN) -m harness compare --html compare.html

# make guide STUDENT=1: without the pages for teachers, the exam and the solutions
SITE := site$(if $(STUDENT),-student)
guide: $(call with,guide)
	@GRUPO_STUDENT=$(STUDENT) NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --quiet --config-file lab_guide/mkdocs.yml --site-dir "$(CURDIR)/$(SITE)"
	@echo "The guide is in $(SITE)/. Open $(SITE)/index.html in a browser, or serve it: $(RUN) -m http.server --bind 127.0.0.1 --directory $(SITE)"

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

# $(call tested,ARGUMENTS OF PYTEST). In CI, what failed beside other tests is run once more, alone: a test is to fail
# because something is broken, and not because a machine had too little time for it.
tested = $(RUN) -m pytest $(1) $(if $(filter true,$(CI)),|| { echo "What failed beside others is run again alone:"; $(RUN) -m pytest $(1) -n 0 --lf --lfnf=none; })

test: $(call with,figures grading notebooks guide tests)
	@$(call tested,-n 4 --dist loadgroup -m "not long")

# The long tests. First those that mostly wait: each exhibit against its check, hostile programs.
# Then those that compute: windows, figures, notebooks, the guide, the strangers' servers, labs.
WAITS := tests/test_exhibits.py tests/test_check_hostile.py
test-long: $(call with,figures perfetto grading notebooks guide bench tests browser cluster)
	@$(call tested,-n 5 -m long $(WAITS))
	@$(call tested,-n 4 --dist loadgroup -m "long and not soak" $(WAITS:%=--ignore=%))

soak: $(call with,figures perfetto grading notebooks guide bench tests browser cluster)
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

# What grading on a cluster needs has a list of its own: the workers need it, too.
$(VENV)/ready-cluster: $(VENV)/ready requirements-cluster.txt
	@echo "Installing the packages of requirements-cluster.txt into $(VENV) (once)..."
	@$(RUN) -m pip --disable-pip-version-check install -c requirements.lock -r requirements-cluster.txt
	@touch $@
