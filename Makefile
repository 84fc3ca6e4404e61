# Everything sets itself up: a Python 3.11 with pip is all a machine needs.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# EXTRA=gpu installs ONNX Runtime's CUDA build instead; the two overwrite each other, so each has an environment
EXTRA ?= cpu
VENV := .venv$(if $(filter gpu,$(EXTRA)),-gpu)
BIN := $(VENV)/bin
LOCK := $(if $(filter gpu,$(EXTRA)),requirements-gpu.txt,requirements.txt)
BARS ?= ../shared/data

.PHONY: help serve test check format format-check lint types archives reference bench monitoring drill lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

serve: $(VENV)/.serve-$(EXTRA) ## start the service on 127.0.0.1 (PORT=9080 moves every port)
	@exec $(BIN)/signalserve serve

test: $(VENV)/.dev ## run every test, live ones included, on free ports
	@$(BIN)/python -m pytest

check: format-check lint types test ## what CI runs

format: $(VENV)/.dev ## rewrite the code in the one style
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix-only --quiet .

format-check: $(VENV)/.dev ## fail where `make format` would change something
	@$(BIN)/ruff format --check --quiet .

lint: $(VENV)/.dev ## ruff
	@$(BIN)/ruff check .

types: $(VENV)/.dev ## mypy --strict
	@$(BIN)/mypy

archives: $(VENV)/.serve-$(EXTRA) ## build TorchServe's archives from model_store/bundles
	@$(BIN)/signalserve pack

reference: $(VENV)/.serve-$(EXTRA) ## train the reference models (BARS=folder of candles)
	@$(BIN)/signalserve reference --bars $(BARS)

bench: $(VENV)/.dev ## measure the service beside a plain FastAPI one
	@$(BIN)/python bench/serve.py

monitoring: $(VENV)/.dev ## write the Prometheus rules and the Grafana dashboards anew
	@$(BIN)/python -m monitoring rules
	@$(BIN)/python -m monitoring dashboards

drill: $(VENV)/.dev ## plant faults in the running service and see which alerts fire (needs Prometheus; 30 minutes)
	@$(BIN)/python -m monitoring drill --bars $(BARS)

lock: ## resolve the locked requirements anew
	@$(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/pip install --quiet pip-tools
	@for lock in cpu:requirements gpu:requirements-gpu dev,cpu:requirements-dev; do \
	  $(VENV)-lock/bin/pip-compile --quiet --strip-extras --no-annotate --no-header --no-emit-index-url \
	    --no-emit-find-links --no-emit-trusted-host --allow-unsafe --extra $${lock%%:*} --output-file - pyproject.toml \
	    | sed -E -e '/^(signalserve |\#|$$)/d' -e 's/\+[a-z0-9.]+$$//' > $${lock##*:}.txt.new && mv $${lock##*:}.txt.new $${lock##*:}.txt || exit 1; done
	@rm -rf $(VENV)-lock

clean: ## remove the environment, the archives and what runs have left, but never a journal (var/journal)
	@rm -rf $(VENV) var/requests var/onnx build *.egg-info model_store/*.mar model_store/archives.json

# The stamps make a second start cost nothing: they are newer than what they were installed from.
$(VENV)/.serve-$(EXTRA): $(LOCK) pyproject.toml | $(VENV)/bin/python
	@$(BIN)/pip install --quiet --disable-pip-version-check -r $(LOCK)
	@PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.txt pyproject.toml | $(VENV)/bin/python
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@ $(VENV)/.serve-cpu

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  { echo "signalserve needs Python 3.11; name one with PYTHON=/path/to/python3.11 make $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -m venv $(VENV)
