# Python 3.11 and make are all that is needed. `make help` lists the targets.
PYTHON ?= python3.11
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help install demo demo-ab test check soak smoke lint types format docs site ui bench release clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10
	@echo
	@echo "TORCH_INDEX=https://download.pytorch.org/whl/cpu installs torch without CUDA."

install: $(STAMP) ## Build .venv from pyproject.toml and constraints.txt

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -c constraints.txt -e '.[train,serve,dev,contract,docs]'
	touch $(STAMP)

demo: install ## From a planted world to recommendations with titles and reasons, in a minute
	$(BIN)/recsys demo

demo-ab: install ## From a served A/B test of people whose taste is known to its verdict, the truth beside it, in two minutes
	folder=$$(mktemp -d) && { $(BIN)/recsys simulate $$folder/shop; status=$$?; rm -rf $$folder; exit $$status; }

test: install ## All tests, by two processes; WORKERS=0 for one
	$(PYTEST)

check: install lint types ## Lint, types and the fast tests, in a minute and a half
	$(PYTEST) -q -m "not slow"

soak: install ## What takes hours: certain answers for 20 seeds and all processors, other seeds, the lowest versions, drawn data, the service under faults, a whole release
	PYTHON=$(PYTHON) $(if $(TORCH_INDEX),PIP_EXTRA_INDEX_URL=$(TORCH_INDEX)) bash .ci/soak

smoke: ## The README's own commands, from an empty environment to an answered request, in two minutes
	$(if $(TORCH_INDEX),PIP_EXTRA_INDEX_URL=$(TORCH_INDEX)) $(PYTHON) .ci/smoke.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

format: install ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

site: install ## The pages as a site with search, in build/site
	$(BIN)/mkdocs build

docs: install ## Write docs/commands.md, the public names, docs/openapi.json, and what the cells of the notebooks give
	$(BIN)/python docs/reference.py > docs/commands.md.new
	mv docs/commands.md.new docs/commands.md
	$(BIN)/python docs/public_names.py > docs/public-names.txt.new
	mv docs/public-names.txt.new docs/public-names.txt
	$(BIN)/python docs/openapi.py > docs/openapi.json.new
	mv docs/openapi.json.new docs/openapi.json
	$(BIN)/python docs/notebook.py --write docs/quickstart.ipynb
	$(BIN)/python docs/notebook.py --write docs/family.ipynb

ui: install ## Open the runs in the MLflow UI, at http://127.0.0.1:5000/#/experiments?workflowType=machine_learning
	MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow ui --backend-store-uri sqlite:///$(CURDIR)/mlruns/mlflow.db

bench: install ## The short form of every benchmark
	$(BIN)/python -m benchmarks.quality --quick
	$(BIN)/python -m benchmarks.crash_safety --quick
	$(BIN)/python -m benchmarks.doctor --quick
	$(BIN)/python -m benchmarks.customer_run --quick

release: ## Wheel, sdist, bill of materials, licences and sums: make release VERSION=0.2.0 OUT=dist; TAG=1 commits and tags, DRY=1 only says what it would do
	$(if $(TORCH_INDEX),PIP_EXTRA_INDEX_URL=$(TORCH_INDEX)) $(PYTHON) .ci/release.py "$(VERSION)" $(if $(OUT),--out "$(OUT)") $(if $(TAG),--tag) $(if $(DRY),--dry-run)

clean: ## Remove the environment and caches; mlruns stays
	rm -rf $(VENV) .venv-lowest .mypy_cache .ruff_cache .pytest_cache build *.egg-info
