# The two commands of the README: `make demo` and `make test`. Each sets up what it needs in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo peers test realdata slow lint format clean help

help:
	@echo "make demo      reconstruct real ERA5 fields from partial observations (figures in demo-output/)"
	@echo "make test      lint, type-check and test; with the real data if ../shared/data is there"
	@echo "make realdata  only the tests that need the real data"

# torch is asked for first and exactly: a range would bring gigabytes of CUDA packages.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "skyweave needs Python 3.11 or newer; set PYTHON=..."; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 -c constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]" -c constraints.txt
	touch $@

demo: $(STAMP)
	$(BIN)/skyweave demo --out demo-output --overwrite

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format src tests experiments benchmarks

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q

realdata: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q -m realdata

# Peers of the benchmarks; without their own dependencies, for torchvision does not fit beside this torch.
peers: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps azula==0.11.1 deepinv==0.5.0 -c constraints.txt

slow: $(STAMP)
	$(BIN)/python -m pytest -q -m slow

clean:
	rm -rf $(VENV) demo-output
