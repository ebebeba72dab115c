# engram: `make` or `make help` lists the targets.  Everything is set up in .venv; nothing else is touched.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# A folder with wheels beside the repository is used where it exists (for instance torch's CPU build).
FIND_LINKS := $(addprefix --find-links ,$(wildcard ../shared/wheels))
KAFKA_JARS := runs/kafka/libs/.fetched

# Tests run a few processes on few cores: one thread each is the fastest, and the figures repeat.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false
export HF_HUB_OFFLINE ?= 1
export PYTHONHASHSEED ?= 0

SEED ?= 1
KILLS ?= 20
STATES ?= 100000
DOMAIN ?= medical

.PHONY: help setup demo test integration chaos model lint types bench train constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## virtual environment .venv with everything pinned in constraints.txt

$(READY): setup.py pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt $(FIND_LINKS) \
	  --editable '.[dev]' \
	|| $(BIN)/python -m pip install --quiet --constraint constraints.txt $(FIND_LINKS) --editable '.[dev]'
	touch $@

demo: $(READY) ## documents through a broker, the graph and memory to a first query; then teach a correction
	$(BIN)/engram demo

test: $(READY) lint types ## lint, types and all tests that need no service (a few minutes on two cores)
	$(BIN)/pytest -m "not integration and not chaos"

integration: $(READY) $(KAFKA_JARS) ## tests against real Apache Kafka and Redis (needs java, mvn, redis-server)
	$(BIN)/pytest -m integration tests/integration tests/chaos

chaos: $(READY) $(KAFKA_JARS) ## kill the worker at every step and KILLS times at random, seeded by SEED
	$(BIN)/pytest -m chaos -s tests/chaos --chaos-seed $(SEED) --chaos-kills $(KILLS)

model: $(READY) ## explore the commit protocol: real code, every schedule of small worlds, up to STATES states, seeded by SEED
	$(BIN)/python -m tests.model --states $(STATES) --seed $(SEED)

$(KAFKA_JARS): tests/integration/kafka/pom.xml
	@command -v java >/dev/null || { echo "java is missing (Debian: default-jre-headless)" >&2; exit 1; }
	@command -v mvn >/dev/null || { echo "mvn is missing (Debian: maven)" >&2; exit 1; }
	rm -rf $(dir $@)
	mvn --quiet --batch-mode -f $< dependency:copy-dependencies -DincludeScope=runtime \
	  -DoutputDirectory=$(abspath $(dir $@))
	touch $@

lint: $(READY) ## ruff
	$(BIN)/ruff check .

types: $(READY) ## mypy
	$(BIN)/mypy

bench: $(READY) $(KAFKA_JARS) ## figures of README: stream and backfill FILES (JSON Lines) of DOMAIN through real Kafka and Redis
	@test -n "$(FILES)" || { echo 'usage: make bench DOMAIN=medical FILES="a.jsonl b.jsonl.xz"' >&2; exit 2; }
	OMP_NUM_THREADS=$$(nproc) $(BIN)/python -m benchmarks.stream --domain $(DOMAIN) --backfill $(FILES)

train: $(READY) ## train DOMAIN on DATA (a folder or files in JSON Lines): make train DOMAIN=medical DATA=folder
	@test -n "$(DATA)" || { echo 'usage: make train DOMAIN=medical DATA=folder' >&2; exit 2; }
	OMP_NUM_THREADS=$$(nproc) $(BIN)/engram train $(DOMAIN) --data $(DATA)

constraints: $(READY) ## write constraints.txt anew from .venv
	$(BIN)/python deploy/constraints.py >constraints.txt.tmp && mv constraints.txt.tmp constraints.txt

clean: ## remove .venv, caches and runs
	rm -rf $(VENV) runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis engram-demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
