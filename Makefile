# SPDX-License-Identifier: GPL-3.0-or-later
# The index of what can be run. Every target installs what it needs first.
.DEFAULT_GOAL := help
.PHONY: help demo test check integration quality sanity-all docs molecule runtimes bench bench-overlap bench-fleet clean

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.cache/collections
export ANSIBLE_CONFIG := $(CURDIR)/tests/ansible.cfg
# Where the surroundings forbid it, each of some thousand processes would compile what it imports.
export PYTHONDONTWRITEBYTECODE :=

help:
	@echo "make demo       deploys an app under load in a container, and says what the clients saw"
	@echo "make test       check, integration and molecule: what has to pass before a change goes in"
	@echo "make check      the fast part: linters, sanity, unit tests"
	@echo "make integration  the playbooks as Ansible runs them, without a host"
	@echo "make quality    what others judge by: galaxy-importer at its strictest, ansible-doc of everything, REUSE"
	@echo "make sanity-all ansible-test sanity with every supported ansible-core on every Python that is there"
	@echo "make docs       the site, in .cache/site, with no warning"
	@echo "make molecule   the behaviour on real systemd; SCENARIO=name for one scenario, EVERYWHERE=1 for all versions of systemd"
	@echo "make runtimes   deploys the app of every page of docs/runtimes on Debian 12 and 13, and writes the figures down; RUNTIMES='--pages go --suites trixie'"
	@echo "make bench      measures deploys beside other ways, for hours; BENCH='--repetitions 1 --start-up 2' for minutes"
	@echo "make bench-overlap  deploys forty releases in a row on every systemd; BENCH='--suites bookworm' on one, BENCH='--deploys 2 --start-up 2' for minutes"
	@echo "make bench-fleet  measures what a deploy to 1 to 20 hosts costs the controller; ANSISTRANO=path of that role beside it, BENCH='--hosts 1,5 --repetitions 1' for minutes"
	@echo "make clean      removes what the other targets have made"

demo:
	@tools/setup
	@tools/host python tests/demo.py

test: check integration molecule

check:
	@tools/setup
	@tools/check

integration:
	@tools/setup
	@pytest --numprocesses 2 --dist loadgroup tests/integration

quality:
	@tools/setup
	@tools/quality

sanity-all:
	@tools/setup
	@tools/sanity --all

docs:
	@tools/docs

molecule:
	@tools/setup
	@tools/host tools/molecule $(SCENARIO)

runtimes:
	@tools/setup
	@tools/host python tests/runtimes.py $(RUNTIMES)

bench:
	@tools/setup
	@tools/host python tests/bench/bench.py $(BENCH)

bench-overlap:
	@tools/setup
	@tools/host python tests/bench/in_a_row.py $(BENCH)

bench-fleet:
	@tools/setup
	@tools/host python tests/bench/fleet.py $(if $(ANSISTRANO),--ansistrano $(ANSISTRANO)) $(BENCH)

clean:
	-tools/container stop holdfast-demo holdfast-runtimes-bookworm holdfast-runtimes-trixie holdfast-bench holdfast-bench-bullseye holdfast-bench-bookworm holdfast-bench-trixie holdfast-bench-forky $(addprefix holdfast-bench-fleet-,$(shell seq 0 19))
	rm -rf .ansible .cache .venv tests/output demo-latency.svg
