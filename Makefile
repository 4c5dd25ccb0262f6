# Every chore has one target; `make` alone lists them.
VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= python3
RUST_SOURCES := $(shell find rust -name '*.rs' -o -name Cargo.toml) Cargo.toml
EXT := python/skymere/_rust.abi3.so
export PYTEST_DISABLE_PLUGIN_AUTOLOAD =
.DEFAULT_GOAL := help

help:  ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "skymere needs Python >= 3.11: https://www.python.org/downloads or your package manager"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "skymere needs Python >= 3.11, $(PYTHON) is $$($(PYTHON) --version); name another with make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) has no venv module: install it (Debian: apt install python3-venv)"; exit 1; }
	@command -v cargo >/dev/null || { echo "skymere needs a Rust toolchain >= 1.89: https://rustup.rs"; exit 1; }
	@command -v cc >/dev/null || { echo "skymere needs a C compiler and linker (Debian: apt install build-essential)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml $(RUST_SOURCES) | $(BIN)/python
	$(BIN)/pip install -q "maturin>=1.9,<2"
	$(BIN)/pip install -q -e '.[demo]'
	@touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(BIN)/pip install -q -e '.[demo,test,lint]' --no-build-isolation
	@touch $@

build: $(VENV)/.installed  ## Set up .venv and build the extension

demo: $(VENV)/.installed  ## Simulate a small survey and run the main job on it
	$(BIN)/skymere demo

TEST_PROCESSES ?= 2
test: $(VENV)/.tested  ## Run every test that needs no more than the repository
	cargo test --workspace --release -q
	$(BIN)/pytest -n $(TEST_PROCESSES) --dist loadfile -m "not validate and not faults and not benchmark"

validate: $(VENV)/.tested  ## Run the long accuracy tests
	$(BIN)/pytest -m validate

faults: $(VENV)/.tested  ## Run the long crash and kill tests
	$(BIN)/pytest -m faults

# Peers that cannot live beside skymere: astrophot brings torch, petrofit needs an old astropy, msaexp an old jwst, which
# needs Python 3.11. A benchmark whose peer is not there says so.
PYTHON311 ?= python3.11
PEERS := $(abspath $(VENV))/peers
$(PEERS)/astrophot/.installed:
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install -q "astrophot>=0.18,<0.19"
	@touch $@

$(PEERS)/petrofit/.installed:
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install -q "petrofit>=0.5,<0.6" "astropy<6" "photutils<1.12" "numpy<2" "matplotlib<3.10"
	@touch $@

$(PEERS)/msaexp/.installed:
	@command -v $(PYTHON311) >/dev/null || { echo "msaexp 0.9.19 needs Python 3.11, $(PYTHON311) is not there; name another with make PYTHON311=..."; exit 1; }
	$(PYTHON311) -m venv $(@D)
	$(@D)/bin/pip install -q "setuptools<68" wheel "numpy<2" msaexp==0.9.19 grizli==1.14.3 eazy==0.8.7 jwst==1.16.1 "crds<13" \
		"drizzlepac<3.7"
	@touch $@

bench: $(VENV)/.tested  ## Time skymere against its peers in one run
	$(BIN)/pip install -q --no-deps "stcal>=1.20,<2"
	$(BIN)/pip install -q "pyimfit>=1.1,<2"
	-$(MAKE) $(PEERS)/astrophot/.installed
	-$(MAKE) $(PEERS)/petrofit/.installed
	-$(MAKE) $(PEERS)/msaexp/.installed
	SKYMERE_BENCH_PYTHON_ASTROPHOT=$(PEERS)/astrophot/bin/python SKYMERE_BENCH_PYTHON_PETROFIT=$(PEERS)/petrofit/bin/python \
		SKYMERE_BENCH_PYTHON_MSAEXP=$(PEERS)/msaexp/bin/python $(BIN)/pytest -m benchmark -s

docs: $(VENV)/.installed  ## Build the pages of docs/ into site/, and run the tutorials that stand in them
	$(BIN)/pip install -q -e '.[docs]' --no-build-isolation
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs site

FUZZ_FILES ?= 1000000
FUZZ_READERS := plan regions exposure mosaic table metafile beams
fuzz: $(VENV)/.tested  ## Give the readers of files and arrays bytes of every kind; FUZZ_FILES for each
	@rustup run nightly rustc --version >/dev/null 2>&1 || { echo "make fuzz needs the nightly toolchain: rustup toolchain install nightly --profile minimal"; exit 1; }
	@cargo fuzz --version >/dev/null 2>&1 || { echo "make fuzz needs cargo-fuzz: cargo install cargo-fuzz --locked"; exit 1; }
	$(BIN)/pip install -q -e '.[fuzz]' --no-build-isolation
	@mkdir -p rust/fuzz/grown/metadata rust/fuzz/grown/index rust/fuzz/grown/chunk rust/fuzz/grown/array
	for target in metadata index chunk array; do \
		cargo +nightly fuzz run --fuzz-dir rust/fuzz $$target rust/fuzz/grown/$$target rust/fuzz/corpus/$$target -- \
			-runs=$(FUZZ_FILES) -timeout=10 -malloc_limit_mb=512 -rss_limit_mb=2048 -print_final_stats=0 -verbosity=0 || exit 1; \
	done
	for target in $(FUZZ_READERS); do $(BIN)/python tests/fuzz/fuzz.py $$target -n $(FUZZ_FILES) || exit 1; done

lint: $(VENV)/.tested  ## Formatting, lints, types, layers and stubs
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -q -- -D warnings
	$(BIN)/ruff format --check python tests
	$(BIN)/ruff check python tests
	$(BIN)/mypy
	$(BIN)/lint-imports
	MYPYPATH=python $(BIN)/python -m mypy.stubtest skymere._rust --ignore-missing-stub

fix:  $(VENV)/.tested  ## Format and mend what can be mended
	cargo fmt --all
	$(BIN)/ruff check --fix python tests
	$(BIN)/ruff format python tests

.PHONY: help build demo test validate faults fuzz bench docs lint fix
