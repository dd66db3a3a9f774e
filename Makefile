# Each target first sets up what is missing. PYTHON must be 3.11 or newer. ARGS are options of the runner, for example
# make run ARGS="--port-offset 1000 --workers 2". CONTRIBUTING.md says which target to use when.
PYTHON ?= python3
BIN := .venv/bin
GROUPED := --dist loadgroup --no-loadscope-reorder
PARALLEL := --numprocesses logical $(GROUPED)
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

.PHONY: run demo unit check format test chaos bench bench-compare bench-growth bench-quick lint types docs openapi pictures setup lock clean image image-digests deploy-plan

run demo: setup
	@exec $(BIN)/python -m emulator $@ $(ARGS)

# The tests that need nothing outside their own process: to run after every edit. Each worker reads all test files, so
# their bytecode is kept, also where the environment says otherwise. One worker more than processors, because some tests
# wait, and few examples for each property. The tests of the storefront run meanwhile, and are reported at the end.
unit: setup
	@mkdir -p .data; npm --prefix web --silent test >.data/web-tests.log 2>&1 & web=$$!; \
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -m unit --hypothesis-profile quick $(GROUPED) \
		--numprocesses $$(($$(getconf _NPROCESSORS_ONLN) + 1)); status=$$?; \
	if wait $$web; then echo "The tests of the storefront have passed."; \
	else status=1; cat .data/web-tests.log; fi; exit $$status

# What a commit must pass: formatting, lint, types and the unit tests.
check: lint types unit

format: setup
	@$(BIN)/ruff format && $(BIN)/ruff check --fix
	@exec npm --prefix web --silent run format

# All tests, with coverage.
test: setup
	@npm --prefix web --silent test
	@$(BIN)/coverage erase && $(BIN)/coverage run -m pytest $(PARALLEL) && $(BIN)/coverage combine --quiet && exec $(BIN)/coverage report

# Three minutes of breaking things with each of three seeds, on each kind of database: about half an hour.
chaos: setup
	@CHAOS_SECONDS=180 CHAOS_SEED=1,2,3 exec $(BIN)/pytest tests/chaos

# What calls cost, compared with what people use today: ten minutes, and bench/results/report.md. Needs a quiet machine.
bench: setup
	@exec $(BIN)/python -W ignore -m bench $(ARGS)

# The main ratios in a minute. Fails if one of them is off by more than half.
bench-quick: setup
	@exec $(BIN)/python -W ignore -m bench --quick

# Growth up to millions, in about five minutes. The report keeps the last results.
bench-growth: setup
	@exec $(BIN)/python -W ignore -m bench --growth

# What changed between two runs, and what is only noise: make bench-compare A=before.json B=after.json
bench-compare: setup
	@exec $(BIN)/python -W ignore -m bench compare $(A) $(B)

lint: setup
	@$(BIN)/ruff format --check && $(BIN)/ruff check && $(BIN)/lint-imports
	@exec npm --prefix web --silent run lint

types: setup
	@$(BIN)/mypy && MYPYPATH=functions $(BIN)/mypy --python-executable functions/venv/bin/python functions
	@exec npm --prefix web --silent run types

# The documentation site, in .data/docs/site. Warnings and broken links are errors.
docs: setup
	@exec $(BIN)/python -m docs.site.build

# services/*/openapi.json, which the storefront's types are generated from. Run it after a change of a route or a schema.
openapi: setup
	@exec $(BIN)/python -m tests.services.make_openapi

# Show what a deployment changes, and what is missing for it. It changes nothing itself. docs/deploying.md has the steps.
deploy-plan: setup
	@exec $(BIN)/python -m deploy.plan

# The image of the services, from the base in deploy/images.env. Needs Docker.
image: setup
	@exec $(BIN)/python -m deploy.images build

# Pin the tags of deploy/images.txt by digest, in deploy/images.env. Needs Docker and the registries.
image-digests: setup
	@exec $(BIN)/python -m deploy.images digests

# The pictures of the README, in docs/images. Run it after a change of how the storefront or the lab looks.
pictures: setup
	@$(BIN)/pytest -q tests/browser/test_pictures.py -k the_picture_of
	@mkdir -p docs/images
	@for picture in .data/screenshots/readme-*.png; do cp "$$picture" "docs/images/$${picture#*readme-}"; done

setup:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "$(PYTHON) is not Python 3.11 or newer. Name another one, for example: make PYTHON=python3.12" >&2; exit 1; }
	@exec $(PYTHON) emulator/run/bootstrap.py

# Make the four files of exact versions from pyproject.toml and functions/requirements.in. uv must be on the PATH.
lock:
	@$(COMPILE) --all-extras --group shop --group dev pyproject.toml -o requirements.txt
	@$(COMPILE) -c requirements.txt --extra admin --extra redis pyproject.toml functions/requirements.in \
		-o functions/requirements.txt
	@$(COMPILE) --group docs -o docs/site/requirements.txt
	@$(COMPILE) -c requirements.txt --extra cli --extra fastapi --extra opentelemetry --extra postgresql \
		--extra redis --group shop pyproject.toml -o deploy/docker/requirements.txt

clean:
	@rm -rf .venv node_modules examples/node-callee/node_modules web/node_modules web/dist functions/venv functions/packed .data .coverage .mypy_cache .pytest_cache .ruff_cache
