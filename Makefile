# Two commands do everything on a machine that has Python >= 3.11 and make:
#   make demo    how far back do nine kinds of network remember? table, and figures/demo_memory.*
#   make test    lint, types and the default test suite
# All paths are relative, so that the checkout may lie anywhere, also under a name with a space.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CPU_INDEX := https://download.pytorch.org/whl/cpu

.PHONY: demo test test-slow lint format setup zoo bench hashes clean

demo: $(READY)
	$(BIN)/python -m seqprobe memory checkpoints/digits \
		--figure figures/demo_memory.pdf --figure figures/demo_memory.png

test: lint
	$(BIN)/python -m pytest -m "not slow" -n 2

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

setup: $(READY)

# Trains every shipped checkpoint again and writes checkpoints/manifest.json.
zoo: $(READY)
	$(BIN)/python checkpoints/build.py

bench: $(READY)
	$(BIN)/python benchmarks/models.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/dynamics.py
	$(BIN)/python benchmarks/capacity.py
	$(BIN)/python benchmarks/seeds.py
	$(BIN)/python benchmarks/adapters.py
	$(BIN)/python benchmarks/studies.py folders

# What figures/ holds, after one of them was drawn anew.
hashes:
	cd figures && sha256sum $$(ls *.nc *.pdf *.png | grep -v ^demo_) > SHA256SUMS

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache

# PyTorch's default wheel for Linux brings 3 GB of CUDA. Without an NVIDIA GPU the CPU wheel is taken
# where its index answers within 3 seconds; everywhere else pip does what it always does.
$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no python3 found; install Python 3.11 or newer" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: '$(PYTHON)' is older than Python 3.11; try make PYTHON=python3.12" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	@if [ "$$(uname -s)" = Linux ] && ! [ -e /dev/nvidiactl ] && ! command -v nvidia-smi >/dev/null && \
		timeout 3 "$(PYTHON)" -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=3)' \
			$(CPU_INDEX)/torch/ >/dev/null 2>&1; then \
		echo "installing PyTorch for the CPU from $(CPU_INDEX)"; \
		$(BIN)/python -m pip install --quiet torch -c constraints.txt --index-url $(CPU_INDEX); \
	fi
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $(READY)
