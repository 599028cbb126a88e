# Everything runs from .venv, which is made and filled on first use and again only after a lock file
# or pyproject.toml have changed: with what runs (requirements.lock), and on top of it, for those who
# develop, with their tools (requirements-dev.lock, which holds the same versions).

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
RUNNING := $(VENV)/.running
INSTALLED := $(VENV)/.installed
IS_PYTHON := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))

# The first interpreter that is new enough; `make PYTHON=/path/to/python3.12 …` overrides it.
PYTHON ?= $(firstword $(foreach p,python3 python3.11 python3.12 python3.13,\
	$(if $(shell $(p) -c '$(IS_PYTHON)' >/dev/null 2>&1 && echo yes),$(p))))

# Each process that a command starts would compile all of the code again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo serve test test-long clients quick coverage lint format types proto proto-check client client-check bench bench-learning bench-tails bench-advice bench-honesty bench-overload bench-access drill bento lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# Installs a lock file, and shows of it what takes time.
define install
@echo "Installing the packages pinned in $(1) (the first time takes some minutes)"
@$(BIN)/python -m pip install --disable-pip-version-check -r $(1) 2>&1 \
	| tee $(VENV)/install.log \
	| { grep --line-buffered -oE '^ *((Downloading|Using cached) [^ ]+ \([0-9]{2,}(\.[0-9]+)? MB\)|Installing collected packages)' || true; } \
	|| { tail -n 30 $(VENV)/install.log >&2; exit 1; }
endef

$(RUNNING): requirements.lock pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
		"$(PYTHON)" -c '$(IS_PYTHON)' >/dev/null 2>&1 || { \
			echo "Trunkline needs Python 3.11 or newer with its venv module. Install it (on Debian and Ubuntu:" \
				"apt install python3 python3-venv), or name it: make PYTHON=/path/to/python3" >&2; exit 1; }; \
		echo "Creating $(VENV) with $$("$(PYTHON)" --version)"; "$(PYTHON)" -m venv --clear $(VENV); }
	$(call install,requirements.lock)
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --editable .
	@touch $@

$(INSTALLED): $(RUNNING) requirements-dev.lock
	$(call install,requirements-dev.lock)
	@touch $@

install: $(RUNNING) ## Make .venv with what serving and the demo need

demo: $(RUNNING) ## Start a server, train and query three tenants' heads, print the results
	@$(BIN)/trunkline demo

serve: $(RUNNING) ## Start the server (flags: make serve ARGS="--rest-port 8080")
	@$(BIN)/trunkline serve $(ARGS)

# A file's tests share what they start, so they stay in one process. Files go out in the order of tests/conftest.py.
PARALLEL := --numprocesses=auto --dist=loadfile --no-loadscope-reorder
PYTEST := $(BIN)/python -m pytest $(PARALLEL)
# What test-long runs once more, with the stores in PostgreSQL.
ON_POSTGRES := $(addprefix tests/service/,access embedding handlers live serving training) \
	$(addprefix tests/e2e/test_,audit.py classes.py external_ids.py forgetting.py learning.py main_job.py \
	tenants.py uploads.py)

test: $(INSTALLED) ## Run every test but the long ones
	@$(PYTEST) -m "not long" $(ARGS)

# Each of others' clients has an environment of its own: together they could not be installed.
CLIENTS := $(patsubst tests/e2e/clients/requirements/%.txt,build/clients/%/.installed,\
	$(wildcard tests/e2e/clients/requirements/*.txt))

clients: $(CLIENTS) ## Make an environment for each of others' clients that the long tests run
build/clients/%/.installed: tests/e2e/clients/requirements/%.txt $(INSTALLED)
	@echo "Installing the client $*"
	@$(BIN)/python -m venv --clear $(@D)
	@$(@D)/bin/python -m pip install --disable-pip-version-check --quiet -r $<
	@touch $@

test-long: $(INSTALLED) ## Run the tests that take long by their nature
	@$(PYTEST) -m long $(ARGS)
	$(if $(ARGS),,@$(BIN)/python -m tests.second_run $(PARALLEL) $(ON_POSTGRES))

quick: $(INSTALLED) ## Run the tests that need no server process, no tuning and no real network
	@$(PYTEST) -m "not (e2e or tuning or long or costly)" $(ARGS)

coverage: $(INSTALLED) ## Run the tests of `make test` and measure what they cover
	@$(PYTEST) -m "not long" --cov --cov-report=term --cov-report=xml:build/coverage.xml $(ARGS)

lint: $(INSTALLED) ## Check style, formatting, the import rules and the Dockerfile
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/hadolint Dockerfile

format: $(INSTALLED) ## Format the code and fix what can be fixed
	@$(BIN)/ruff check --fix-only --quiet
	@$(BIN)/ruff format

types: $(INSTALLED) ## Check the types
	@$(BIN)/mypy

# protoc finds google/api/*.proto in googleapis-common-protos and google/protobuf/*.proto in grpcio-tools.
PROTOS = $(sort $(wildcard proto/trunkline/v1/*.proto))
PROTOC = PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -Iproto \
	-I"$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
# Stubs know no comments: the descriptor set has them, for the OpenAPI document.
STUBS_INTO = --python_out=$(1) --grpc_python_out=$(1) --mypy_out=quiet:$(1) --mypy_grpc_out=quiet:$(1) \
	--include_source_info --descriptor_set_out=$(1)/trunkline/v1/descriptors.binpb

# A protocol of others has no stubs, which would be in the way of its clients': the server reads its descriptors.
OIP := service/transport/protocols/oip/inference.binpb
OIP_INTO = $(PROTOC) --descriptor_set_out=$(1) proto/inference/inference.proto

proto: $(INSTALLED) ## Generate trunkline/v1 from proto/trunkline/v1, and the descriptors of proto/inference
	@$(PROTOC) $(call STUBS_INTO,.) $(PROTOS)
	@$(call OIP_INTO,$(OIP))

proto-check: $(INSTALLED) ## Check that the generated stubs are current
	@out=$$(mktemp -d); trap 'rm -rf "$$out"' EXIT; mkdir -p "$$out/trunkline/v1"; \
	$(PROTOC) $(call STUBS_INTO,"$$out") $(PROTOS); \
	diff -r -x __init__.py -x __pycache__ "$$out/trunkline/v1" trunkline/v1 \
		|| { echo "trunkline/v1 is not what proto/ says: run make proto" >&2; exit 1; }; \
	$(call OIP_INTO,"$$out/inference.binpb"); \
	cmp "$$out/inference.binpb" $(OIP) || { echo "$(OIP) is not what proto/ says: run make proto" >&2; exit 1; }

CLIENT := trunkline/clients/blocking

client: $(INSTALLED) ## Generate the blocking client from the asynchronous one
	@$(BIN)/python tools/blocking_client.py $(CLIENT)

client-check: $(INSTALLED) ## Check that the generated client is current
	@out=$$(mktemp -d); trap 'rm -rf "$$out"' EXIT; \
	$(BIN)/python tools/blocking_client.py "$$out"; \
	diff -r -x __pycache__ "$$out" $(CLIENT) \
		|| { echo "$(CLIENT) is not what trunkline/clients/asynchronous says: run make client" >&2; exit 1; }

bench: $(INSTALLED) ## Measure the serving figures of docs/performance.md
	@$(BIN)/python -m benchmarks $(ARGS)

bench-learning: $(INSTALLED) ## Measure how fast, accurate and honest learning is
	@OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.learning $(ARGS)

bench-tails: $(INSTALLED) ## Measure engines, and what fine-tuned tails gain and cost
	@$(BIN)/python -m benchmarks.tails $(ARGS)

bench-advice: $(INSTALLED) ## Compare what is advised with held-out accuracy
	@OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.advice $(ARGS)

bench-honesty: $(INSTALLED) ## Compare estimates with held-out accuracy
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.honesty $(ARGS)

bench-overload: $(INSTALLED) ## Measure what overload leaves of the capacity, and whether hints hold
	@$(BIN)/python -m benchmarks.overload $(ARGS)

bench-access: $(INSTALLED) ## Measure what a key and a quota add to a cached prediction
	@$(BIN)/python -m benchmarks.access $(ARGS)

drill: $(INSTALLED) ## Attack running servers for 17 minutes, and see what is promised hold
	@GRPC_VERBOSITY=ERROR OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m drills $(ARGS)

bento: $(RUNNING) ## Build the Bento
	@BENTOML_DO_NOT_TRACK=True $(BIN)/bentoml build

# torch and torchvision belong together and move together, by hand. A CUDA build of torch brings the CUDA
# packages it was made with; pinned here, they would land on machines that have no use for them.
TOGETHER := torch==2.13.0 torchvision==0.28.0

PINS = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--no-header --no-annotate pyproject.toml
NO_CUDA := grep -vE '^(cuda-|triton==|nvidia-(cu|nccl|nv))'

lock: $(INSTALLED) ## Pin the newest versions that pyproject.toml allows
	@{ echo "# All extras, for Python 3.11 and newer. Made by: make lock"; \
	$(PINS) --all-extras --upgrade --constraint <(printf '%s\n' $(TOGETHER)) | $(NO_CUDA); } \
		> requirements-dev.lock.new
	@{ echo "# What runs: the extras server and demo, for Python 3.11 and newer. Made by: make lock"; \
	$(PINS) --extra server --extra demo --constraint requirements-dev.lock.new | $(NO_CUDA); } \
		> requirements.lock.new
	@for name in requirements-dev requirements; do mv $$name.lock.new $$name.lock; done

clean: ## Remove what the other commands made, .venv excepted
	@rm -rf build dist .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -path ./$(VENV) -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +
