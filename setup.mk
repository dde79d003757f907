# The virtual environment, and the packages in it: for the Makefile of Grupo, and for that of a student's kit.
PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin/python
# $(call with,GROUPS): groups of packages, by their headings in requirements.txt
with    = $(VENV)/ready $(1:%=$(VENV)/ready-%)
# The user's settings for other programs in Python, and for other tests
unexport PYTHONHOME PYTHONPATH PYTHONSAFEPATH PYTHONOPTIMIZE PYTHONWARNINGS $(filter PYTEST_%,$(.VARIABLES))

# pip runs once at a time
.NOTPARALLEL:

# After an upgrade of the system's Python, the environment lacks pip and all that was installed: it is not ready.
FORGET := $(shell [ ! -e $(VENV)/ready ] || $(RUN) -I -c 'import pip' 2>/dev/null || rm -f $(VENV)/ready* 2>/dev/null)

# The virtual environment, with the groups that every command needs. What changes in a list is installed again.
LISTS := requirements.txt requirements.lock requirements.py
$(VENV)/ready: $(LISTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Grupo needs Python 3.11 or newer; this is %s. Name another: make PYTHON=python3.12 $(or $(MAKECMDGOALS),demo)" % sys.version.split()[0])'
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

clean:
	rm -rf $(VENV)
