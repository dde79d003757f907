# make run: try the server.   make check: judge it.   make report: the same, and a page with pictures.
# (Each line ends in #, and each recipe stands behind its target, so that an editor's Windows line ends do no harm.)
LAB    ?= ${lab}#
DESIGN ?= ${design}#
CC     ?= cc#
GRUPO  ?= ${grupo}#
PYTHON ?= ${python}#
PORT   ?= 7000#
SEED   ?=#
ONLY   ?=#
DEADLINE ?=#
REPORT  =#
.PHONY: run check report #
run:; @$$(CC) -std=gnu11 -O2 -g -Wall -Wextra -o server server.c -pthread -lcrypt -lm && ./server --port $$(PORT) --admit all --dir group #
check:; @test -d "$$(GRUPO)/harness" || { echo "Grupo is not at $$(GRUPO). Say where it is: make check GRUPO=FOLDER"; exit 2; }; cd "$$(GRUPO)" && "$$(PYTHON)" -m harness lab "$$(CURDIR)" --lab $$(LAB) --design $$(DESIGN) $$(if $$(SEED),--seed $$(SEED)) $$(if $$(DEADLINE),--deadline $$(DEADLINE)) $$(if $$(ONLY),--only $$(ONLY)) $$(REPORT) #
report: REPORT = --html "$$(CURDIR)/report.html"#
report: check #
