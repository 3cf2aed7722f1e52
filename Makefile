# The targets a person types; CI types the same ones.
.DEFAULT_GOAL := help
BIN := .venv/bin
WITH_BASE_IMAGE = base=$$(tools/base-image) || exit 1; \
	[ -z "$$base" ] || export BIOREACTOR_NODE_BASE_IMAGE="$$base";

# A service that is started compiles itself anew where Python may not keep what it compiled: that
# is half of the half second that it takes.
unexport PYTHONDONTWRITEBYTECODE

# Most tests wait rather than compute: two workers more than there are processors, whole files each,
# in the order of tests/conftest.py.
SIDE_BY_SIDE = -n $$(($$(nproc) + 2)) --dist loadfile --no-loadscope-reorder

DIST := dist

.PHONY: help up test snapshots lint types contract docs screenshots fuzz bench format lock audit images sbom clean

help: ## Show this help
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 18

up: ## Install what is missing and start everything with a simulated bioreactor
	@tools/setup up
	@$(WITH_BASE_IMAGE) exec $(BIN)/bioreactor up $(ARGS)

test: ## Install what the tests need and run them all
	@tools/setup test
	$(WITH_BASE_IMAGE) exec $(BIN)/pytest $(SIDE_BY_SIDE) $(ARGS)

snapshots: ## Take the pictures of pages anew that the tests compare with
	@tools/setup test
	UPDATE_SNAPSHOTS=1 $(BIN)/pytest tests/browser/test_snapshots.py $(ARGS)

lint: ## Check style and the architecture's import rules
	@tools/setup up
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: ## Check types, tests included
	@tools/setup up
	$(BIN)/mypy

contract: ## Check that the published contract is the one in the code
	@tools/setup up
	$(BIN)/python -m broker.asyncapi --check
	$(BIN)/python -m tools.reference --check

docs: ## Build the documentation into build/site; a dead link or any other warning is an error
	@tools/setup up
	$(BIN)/python -m tools.docs
	$(BIN)/zensical build --strict --clean

screenshots: ## Take the documentation's pictures anew from a running system
	@tools/setup test
	$(WITH_BASE_IMAGE) exec $(BIN)/python -m tools.docs.screenshots

fuzz: ## Fuzz every parser of foreign bytes, for ARGS="SECONDS [NAME ...]"
	@tools/setup up
	$(BIN)/python -m tests.fuzz $(or $(ARGS),60)

bench: ## Measure against the raw limits and print one table
	@tools/setup test
	$(WITH_BASE_IMAGE) exec $(BIN)/python -m bench $(ARGS)

format: ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: ## Pin every package anew that pyproject.toml asks for; what is pinned stays where it fits
	$(BIN)/uv pip compile -q pyproject.toml --all-extras --group dev --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate -o requirements.lock
	$(BIN)/uv pip compile -q deploy/images/tools.in --constraint requirements.lock --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate -o deploy/images/tools.lock

audit: ## Ask PyPI for known vulnerabilities of every pinned package (needs pypi.org itself)
	@tools/setup up
	@$(BIN)/python -m tools.audit $(ARGS)

images: ## Build the images of all services for compose.yaml
	@export BIOREACTOR_REVISION=$$(git describe --always --dirty) \
		BIOREACTOR_VERSION=$$(sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml); \
	if docker compose version >/dev/null 2>&1; then docker compose build; else docker-compose build; fi

sbom: ## Write the bill of materials of each image into dist/
	@mkdir -p $(DIST)
	@for name in broker access hub portal node runner; do \
		docker run --rm --network none --entrypoint cat bioreactor-$$name \
			/usr/share/doc/bioreactor/sbom.cdx.json >$(DIST)/bioreactor-$$name.cdx.json || exit 1; \
		echo $(DIST)/bioreactor-$$name.cdx.json; \
	done

clean: ## Remove what was built (experiments and their data stay)
	rm -rf .venv build dist portal/static portal/frontend/node_modules tools/micropython/node_modules
