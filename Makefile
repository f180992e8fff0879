# The door. Every target is plain cargo underneath.
#
# All of them build the whole workspace, tests included, because cargo compiles a dependency once for each set of
# features: `cargo build -p probegram` or `cargo run` would compile a hundred of them again.

# where rustup puts cargo, for a shell that was open before
PATH := $(PATH):$(HOME)/.cargo/bin
export PATH
# where the recipes look for programs, whatever the shell's own settings say
export CARGO_TARGET_DIR := $(CURDIR)/target

.NOTPARALLEL:
.PHONY: help demo test test-radio lint build bench chaos prove fuzz cargo packages-build packages-test packages-radio packages-bench deb audit deploy-tools deploy-rehearsal

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: cargo packages-build ## a household's day of probe requests, and a chat about it
	cargo build --workspace --all-targets
	target/debug/probegram demo

# Clippy first: it fails soonest. It shares build scripts and procedural macros with the build; that it reads the
# dependencies once more costs a cold run about a minute. The tests compile nothing that the build has not.
test: cargo packages-test lint ## formatting, lints and all tests
	cargo build --workspace --all-targets
	cargo test --workspace

# Also among the tests, and skipped there when QEMU is missing.
test-radio: cargo packages-radio ## the agent on virtual cards, in a virtual machine
	cargo build --workspace --all-targets
	cargo test --workspace --test radio

lint: cargo packages-build ## formatting and lints alone
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

deb: build ## the agent as a Debian package with its service, in target/debian
	@[ -x target/tools/bin/cargo-deb ] || CARGO_TARGET_DIR=target/tools/build cargo install cargo-deb --locked --version 3.8.0 --root target/tools
	target/tools/bin/cargo-deb -p capture-agent --no-build

# By name and not --workspace: the tests' own features stay out of programs for real use.
build: cargo packages-build ## programs for real use: capture-agent, probegram and the functions, in target/release
	cargo build --release -p capture-agent -p probegram -p aggregate -p materialize -p alert -p bot

deploy-tools: build ## what a deployment needs: SAM and cargo-lambda in target/deploy-tools, and the programs
	@infra/deploy-tools
	@echo 'now type: export PATH="$$PWD/target/deploy-tools/bin:$$PWD/target/release:$$PATH"'

# A short form, with the programs of the dev build and one provider, is among the tests.
deploy-rehearsal: cargo packages-test deploy-tools ## the deployment as the README says it, on an emulator of AWS and a real Kafka
	cargo build --workspace --all-targets
	cargo test --workspace --test deploy_rehearsal -- --full

audit: cargo ## licences, sources and unused dependencies
	@infra/audit

# The benchmarks measure the release programs as processes, so they need no optimised build of their own: in the dev
# profile cargo takes them from the build that the tests use.
bench: cargo packages-bench build ## the figures: frames and records per second, latency, memory, start
	cargo build --workspace --all-targets
	cargo bench --profile dev --workspace --bench read_capture --bench spool_to_kafka --bench sensor --bench function_start --bench end_to_end --bench alert_latency --bench name_search
	cargo bench -p probegram --bench aggregate

# By the programs that are deployed, as a release builds them. A short form by the dev build is among the tests.
chaos: cargo packages-test build ## everything that may go wrong, at length, with a real Kafka and the real functions
	cargo build --workspace --all-targets
	cargo test --workspace --test chaos -- --full

prove: cargo packages-build ## the guarded merge over 10,000 random schedules of delivery
	PROBEGRAM_SCHEDULES=10000 cargo test --workspace --test guarded_merge

fuzz: cargo packages-build ## the decoders against mutated input, a minute each
	@cargo fuzz --version || { \
	  echo "cargo-fuzz is missing, type: rustup toolchain install nightly && cargo install cargo-fuzz --locked" >&2; exit 1; }
	for target in $$(cargo +nightly fuzz list --fuzz-dir tests/fuzz); do \
	  cargo +nightly fuzz run --fuzz-dir tests/fuzz $$target -- -max_total_time=60 || exit 1; \
	done

cargo:
	@cargo --version | awk '{ split($$2, version, "."); if (version[1] > 1 || version[2] >= 95) new = 1 } END { exit !new }' || { \
	  echo "Rust's cargo 1.95 or newer is missing: get it from https://rustup.rs, then type make again" >&2; exit 1; }

packages-build packages-test packages-radio packages-bench:
	@infra/packages $(@:packages-%=%)
