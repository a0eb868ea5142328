# Everything sets itself up into .venv; nothing but make is needed. `make` shows what there is.
PYTHON ?= python3
PYTEST ?= -n 2

VENV := .venv
BIN := $(VENV)/bin

# rpy2 from R's own library, with no compiler. One thread: with two, crossed fits are six times slower.
export RPY2_CFFI_MODE := ABI
export OPENBLAS_NUM_THREADS := 1
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help report test test-all lint image oldest clean setup

help:
	@echo "make report   fit every bundled case with every engine and write who agrees to reports/index.html"
	@echo "make test     the test suite, less what is marked slow   (PYTEST='-n 2 -k pooling' to choose)"
	@echo "make test-all the test suite, slow parts too"
	@echo "make lint     ruff and mypy"
	@echo "make image    build the Docker image and run its tests"
	@echo "make oldest   the test suite with the oldest dependencies that pyproject.toml allows"
	@echo "make clean    remove .venv, reports and caches"

report: setup
	@$(BIN)/lmmbridge run --report reports --exit-zero

test: setup
	@$(BIN)/python -m pytest -m "not slow" $(PYTEST)

test-all: setup
	@$(BIN)/python -m pytest $(PYTEST)

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --strict bridge

image:
	@if docker info >/dev/null 2>&1; then \
		docker build -t lmmbridge -f docker/Dockerfile . && docker run --rm lmmbridge; \
	else sh docker/build-local.sh; fi

# In an environment of its own, without R: recorded fits stand in for it.
oldest:
	@$(PYTHON) -m venv --clear $(VENV)-oldest
	@$(PYTHON) docker/oldest.py >$(VENV)-oldest/constraints.txt
	@$(VENV)-oldest/bin/python -m pip install --quiet -c $(VENV)-oldest/constraints.txt --editable ".[test]"
	@$(VENV)-oldest/bin/python -m pytest -m "not slow" $(PYTEST)

clean:
	rm -rf $(VENV) $(VENV)-oldest reports build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The key is all that .venv depends on: rebuilt when one of these changes, else left alone.
setup:
	@sh docker/install-system.sh
	@extras=dev; ! command -v R >/dev/null || extras=dev,r; \
	key="$$(cksum <pyproject.toml) $$extras $$($(PYTHON) -V 2>&1) $(CURDIR)"; \
	if [ "$$key" = "$$(cat $(VENV)/key 2>/dev/null)" ]; then exit 0; fi; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is missing or older than 3.11: name another, make PYTHON=python3.12" >&2; exit 1; }; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) has no venv: install the package python3-venv, then make again" >&2; exit 1; }; \
	echo "setting up $(VENV) (about a minute, once)" >&2; \
	$(PYTHON) -m venv --clear $(VENV) && \
	$(BIN)/python -m pip install --quiet --editable ".[$$extras]" && \
	{ $(BIN)/python -m pip install --quiet --only-binary=:all: --editable ".[engines]" 2>$(VENV)/engines.log || \
		echo "extra engines cannot be installed here, going on without: $$(tail -n 1 $(VENV)/engines.log)" >&2; } && \
	echo "$$key" >$(VENV)/key
