# Everything from a fresh clone: `make run` starts the organism of examples/hello, `make test` checks the whole repository.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
NPM_STAMP := tests/js/node_modules/.installed

.PHONY: run install test bench clean

run: install
	$(BIN)/organism up examples/hello/organism.yaml

install: $(STAMP)

# Done again only when what is to be installed has changed.
$(STAMP): pyproject.toml constraints.txt
	@echo "== setting up .venv; takes some minutes the first time"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

# JavaScript clients that the tests drive against the API.
$(NPM_STAMP): tests/js/package.json tests/js/package-lock.json
	@command -v npm >/dev/null || { echo "Node.js 20 or newer with npm is needed for the tests; install it first" >&2; exit 1; }
	cd tests/js && npm ci --silent
	@touch $@

test: install $(NPM_STAMP)
	@.ci/postgres
	@echo "== lint" && $(BIN)/ruff check .
	@echo "== format" && $(BIN)/ruff format --check .
	@echo "== types" && $(BIN)/pyright
	@echo "== layers" && $(BIN)/lint-imports
	@echo "== tests" && $(BIN)/pytest --durations=10

bench: install
	$(BIN)/python benchmarks/pump.py
	$(BIN)/python benchmarks/api.py
	$(BIN)/python benchmarks/access.py
	$(BIN)/python benchmarks/pending.py
	$(BIN)/python benchmarks/sessions.py
	$(BIN)/python benchmarks/librarian.py

clean:
	rm -rf .venv tests/js/node_modules build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache .schemathesis
