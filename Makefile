# What can be done here. Every target installs through apt what it lacks.

CARGO ?= cargo

.PHONY: help demo test test-vm bench check fmt deny

help:
	@echo "make demo      the whole job on this machine, to watch (DEMO_SECONDS=30: ends by itself, checks; DEMO_INPUT=auto: a capture device)"
	@echo "make test      format, lints, all tests against real origins"
	@echo "make test-vm   a virtual machine with a virtual HDMI card: the real unit and binary, killed and on air again"
	@echo "make bench     what the code costs on the live path"
	@echo "make check     format and lints only"

demo:
	@tools/install-deps build run test
	$(CARGO) build --release
	@target/release/onaird demo --input $(or $(DEMO_INPUT),test) $(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS))

test: check
	$(CARGO) test

check:
	@tools/install-deps build run test
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings

test-vm:
	@tools/install-deps build run test vm
	$(CARGO) build --release
	tests/vm/test.sh

bench:
	@tools/install-deps build run
	$(CARGO) bench --bench live_path

fmt:
	$(CARGO) fmt

deny:
	$(CARGO) deny --config .deny.toml check
