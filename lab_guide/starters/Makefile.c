# make run: try the server.   make check: judge it.   make report: the same, and a page with pictures.
# (Each line ends in #, and each recipe stands behind its target, so that an editor's Windows line ends do no harm.)
LAB    ?= ${lab}#
DESIGN ?= ${design}#
CC     ?= cc#
GRUPO  ?= ${place}#
PYTHON ?= ${python}#
quoted  = '$$(subst ','\'',$$(1))'#
PORT   ?= 7000#
SEED   ?=#
ONLY   ?=#
DEADLINE ?=#
REPORT  =#
.PHONY: run check report #
run:; @$$(CC) -std=gnu11 -O2 -g -Wall -Wextra -o server server.c -pthread -lcrypt -lm && ./server --port $$(PORT) --admit all --dir group #
check:; @test -d $$(call quoted,$$(GRUPO)/harness) || { echo $$(call quoted,Grupo is not at $$(GRUPO). Say where it is: make check GRUPO=FOLDER); exit 2; }; cd $$(call quoted,$$(GRUPO)) && $$(call quoted,$$(PYTHON)) -m harness lab $$(call quoted,$$(CURDIR)) --lab $$(LAB) --design $$(DESIGN) $$(if $$(SEED),--seed $$(SEED)) $$(if $$(DEADLINE),--deadline $$(DEADLINE)) $$(if $$(ONLY),--only $$(ONLY)) $$(REPORT)$$(if $$(REPORT),; status=$$$$?; echo report.html; exit $$$$status) #
report: REPORT = --html $$(call quoted,$$(CURDIR)/report.html)#
report: check #
