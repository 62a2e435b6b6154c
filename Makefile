# What can be done here. Every target installs through apt what it lacks.

CARGO ?= cargo
# Seconds on air after which the demo ends by itself, with checks; empty: when a person ends it.
DEMO_SECONDS ?=
# test, or auto: a capture device if there is one.
DEMO_INPUT ?= test

.DEFAULT_GOAL := help
.PHONY: help demo build test check test-vm soak-vm soak-archive faults soak-legs reconnects bench fmt deny deps

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## the whole job on this machine, to watch (DEMO_SECONDS=30: ends by itself, checks; DEMO_INPUT=auto: a capture device)
	@tools/install-deps build run test
	@echo "Building onaird; the first time takes some minutes."
	@$(CARGO) build --release --locked
	@target/release/onaird demo --input $(DEMO_INPUT) $(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS))

build: ## the daemon as it is installed on a box: target/release/onaird
	@tools/install-deps build
	$(CARGO) build --release --locked

# Tests that measure time start encoders of their own; too many at once only measure each other.
test: check ## format, lints, all tests against real origins
	-@tools/install-peers
	$(CARGO) test --locked --no-fail-fast -- --test-threads=2

check: ## format and lints only
	@tools/install-deps build run test
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

# The bench machine of tests/machine: an emulated machine with two capture cards and a sound card, or with a data disk, judged by what
# origins record.
MACHINE = ONAIRD_BIN=$(CURDIR)/target/release/onaird $(CARGO) test --locked --test machine -- --ignored --nocapture --exact

test-vm: ## a virtual machine with virtual cards: the real unit and binary, killed and on air again; inputs lost and regained; power cuts
	@tools/install-deps build run test vm
	$(CARGO) build --release --locked
	tests/vm/test.sh
	tests/vm/cards.sh
	tests/vm/export.sh
	$(MACHINE) inputs_survive
	$(MACHINE) power_is_cut

soak-vm: ## the same machine: 200 random mishaps of an input in a row (MACHINE_SEED), ten minutes of sound from a clock that is off, 20 power cuts
	@tools/install-deps build run test vm
	$(CARGO) build --release --locked
	$(MACHINE) inputs_survive_for_long
	$(MACHINE) power_is_cut_often

soak-archive: ## ten minutes of recording: all of it decodes, and it is as long as the run was
	@tools/install-deps build run test
	$(CARGO) test --locked --test long_run -- --ignored --nocapture --exact ten_minutes_in_segments_of_30_s

# The bench of tests/faults: the daemon between real origins, in network namespaces that end with it; needs root.
FAULTS = $(CARGO) test --release --locked --test faults -- --ignored --nocapture --exact

faults: ## every fault of an origin and its network, FAULT_ROUNDS (10) times each; writes the table of docs/recovery.md
	@tools/install-deps build run test
	$(FAULTS) all_faults

soak-legs: ## SOAK_MINUTES (30) of each condition under which no leg may leave its origin
	@tools/install-deps build run test
	$(FAULTS) nothing_moves

reconnects: ## RECONNECTS (1000) forced ones: memory and descriptors stay flat
	@tools/install-deps build run test
	$(FAULTS) a_thousand_reconnects_leave_no_trace

bench: ## what the code costs on the live path, publishing, recording and capture beside what others do it with
	@tools/install-deps build run test vm
	$(CARGO) bench --locked --bench live_path
	$(CARGO) bench --locked --bench publish
	$(CARGO) bench --locked --bench archive
	$(CARGO) bench --locked --bench capture
	-@tools/install-peers
	$(CARGO) bench --locked --bench upload

fmt: ## formats the sources
	$(CARGO) fmt

deny: ## licences, sources and known faults of what is built in
	$(CARGO) deny --config .deny.toml check

deps: ## installs all Debian packages that any of these needs
	@tools/install-deps build run test vm
