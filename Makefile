# The front door: `make help` lists what can be done here.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
CODE := app bridge benchmarks chaos tests

.PHONY: help install demo pictures test compose-test chaos bench bench-quick lint format artifact clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed-test ## Make .venv with everything: to run, to train, to test
	@echo "Ready: try $(BIN)/python -m app --help and $(BIN)/python -m bridge --help"

demo: $(VENV)/.installed-demo ## Stream the sample through a broker on this machine and watch the alerts (KEEP=1 leaves it running)
	@$(BIN)/python -m bridge demo $(if $(KEEP),--keep)

pictures: demo ## Make the pictures of docs/pictures again, out of a run of the demo
	@mkdir -p docs/pictures && cp demo-output/{stream,latency,scores}.png docs/pictures/

test: $(VENV)/.installed-test lint ## Linters, types, floors, unit tests, integration tests on a real broker
	@if [ -n "$(PYTEST_ARGS)" ]; then exec $(BIN)/python -m pytest $(PYTEST_ARGS); fi; \
	log=$$(mktemp) && trap 'rm -f "$$log"' EXIT && \
	echo "Unit tests run beside the integration tests, which mostly wait for brokers; what they say comes at the end." && \
	{ $(BIN)/python -m pytest -p no:cacheprovider tests/unit > "$$log" 2>&1 & } && unit=$$! && \
	integration=0 && { $(BIN)/python -m pytest tests/integration || integration=$$?; } && \
	code=0 && { wait $$unit || code=$$?; } && cat "$$log" && exit $$((integration ? integration : code))

compose-test: $(VENV)/.installed-test ## Build the image, bring the containers up, scale, kill, audit (needs Docker or podman, so no part of `make test`)
	$(BIN)/python -m tests.compose $(COMPOSE_ARGS)

chaos: $(VENV)/.installed-test ## Break bridges, brokers and connections under load and audit what is left (35 minutes; SCENARIO=… plays one)
	$(BIN)/python -m chaos $(SCENARIO)
	$(BIN)/python -m chaos --document

bench: $(VENV)/.installed-test ## Measure everything beside its peers and rewrite the README's table (about half an hour)
	$(BIN)/python -m benchmarks all
	$(BIN)/python -m benchmarks table

bench-quick: $(VENV)/.installed-test ## A first look at the same figures, in under five minutes
	$(BIN)/python -m benchmarks all --quick

lint: $(VENV)/.installed-test ## Style, types and the floors of the house
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.installed-test ## Rewrite the code in the house's style
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

artifact: $(VENV)/.installed-test ## Make the default artifact and the sample again: the same bytes on the same machine
	work=$$(mktemp -d) && trap 'rm -rf "$$work"' EXIT && \
	$(BIN)/python -m app synthesize --rows 60000 --decimals 2 --seed 2026 --output "$$work/synthetic.csv" && \
	$(BIN)/python -m app train "$$work/synthetic.csv" --test-fraction 0.1666667 \
		--neighbors 10 --feature-weights ks --discriminant 0 --output model_artifacts/default && \
	{ head -n 1 "$$work/synthetic.csv"; tail -n 10000 "$$work/synthetic.csv"; } > data/sample_transactions.csv

clean: ## Remove what the targets made
	rm -rf $(VENV) demo-output .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

$(VENV)/bin/python:
	@[ -n "$(PYTHON)" ] || { echo "Neighborwatch needs Python 3.11 or later; none was found."; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing what the demo needs: about a minute"
	@$(PIP_INSTALL) --editable '.[demo]'
	@touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing everything: about two minutes"
	@$(PIP_INSTALL) --editable '.[test,bench]'
	@touch $@ $(VENV)/.installed-demo
