# PORT and DATABASE_URL are honoured by every target but bench and faults, which bring servers of their own;
# PYTHON chooses the interpreter for .venv.
PORT ?= 8000
VENV := .venv
PY := $(VENV)/bin/python
export PORT

.PHONY: help demo run proof test bench faults mutants screenshots check clean

help: ## this list
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s%s\n", $$1, $$2}' Makefile

demo: $(VENV)/installed ## web, workers and a live workload on http://127.0.0.1:$PORT/
	@$(PY) manage.py demo --port $(PORT)

run: $(VENV)/installed ## the same without the generated workload
	@$(PY) manage.py serve --port $(PORT)

proof: $(VENV)/installed ## 1,000 jobs, a worker killed among them, everything accounted for
	@$(PY) manage.py proof

test: $(VENV)/installed-dev ## every test on SQLite; what depends on the database on a real PostgreSQL, too (ARGS="-k claim")
	@$(PY) -m tests $(ARGS)

bench: $(VENV)/installed-dev ## how fast it is here, beside the database alone (ARGS="--only drain-sync")
	@$(PY) -m bench $(ARGS)

faults: $(VENV)/installed-dev ## 100,000 jobs while everything breaks, and a count of what went wrong (ARGS="--jobs 5000")
	@$(PY) -m tests.faults $(ARGS)

mutants: $(VENV)/installed-dev ## does a test fail for every guard of the engine that is taken away? (ARGS="--list")
	@$(PY) -m tests.mutants $(ARGS)

screenshots: $(VENV)/installed-dev ## the pictures of the README, taken anew with Chromium
	@$(PY) -m tests.screenshots

check: $(VENV)/installed-dev ## style, types, migrations, deployment, container files, the rules, known vulnerabilities
	@failed=; \
	check() { name=$$1; shift; echo "== $$name"; "$$@" || failed="$$failed, $$name"; }; \
	check "ruff check" $(PY) -m ruff check .; \
	check "ruff format" $(PY) -m ruff format --check .; \
	check "mypy" $(PY) -m mypy; \
	check "migrations" $(PY) manage.py makemigrations --check --dry-run; \
	check "deployment" env HTTPS=1 SECRET_KEY="$$($(PY) -c 'import secrets; print(secrets.token_urlsafe(64))')" \
		$(PY) manage.py check --deploy --fail-level WARNING; \
	check "rules" $(PY) -m pytest -q tests/architecture tests/packaging/test_containers.py; \
	check "known vulnerabilities" $(PY) -m tests.audit; \
	if [ -n "$$failed" ]; then echo "FAILED: $${failed#, }"; exit 1; fi; \
	echo "All checks passed"

clean: ## remove .venv, caches and var/ (the data)
	rm -rf $(VENV) var staticfiles .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/installed: requirements.txt .ci/venv
	@sh .ci/venv $(VENV) requirements.txt
	@touch $@

$(VENV)/installed-dev: requirements-dev.txt $(VENV)/installed
	@sh .ci/venv $(VENV) requirements-dev.txt
	@touch $@
