# Every target sets up what it needs: Python 3.11 or newer, git and make are enough.
PYTHON ?= python3
TEST_PROCESSES ?= 2
# One more, as each waits now and then: for a server, a browser, a process that ends.
WORKERS = $(shell expr $(TEST_PROCESSES) + 1)
BIN := .venv/bin
READY := .venv/.ready
OLD_MLFLOW := .cache/mlflow-2.7.1
LOWEST := .cache/lowest
UV := $(BIN)/uv
# uv takes a quarter of pip's time; pip knows the mirrors of its own configuration.
install = $(UV) pip install --no-config --python $(1)/bin/python --no-deps --require-hashes -r $(2) \
  || $(BIN)/python -m pip --python $(1)/bin/python install --no-compile --no-deps --require-hashes -r $(2)

.PHONY: demo test test-all test-exhaustive test-lowest mlflow-2.7.1 lowest bench ui docs lint lock clean

demo: $(READY)  ## train on embedded data on the CPU, print the result table
	$(BIN)/python -m asl_exp experiment=demo

test: lint  ## lint, type-check, and run the fast tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not heavy and not gpu and not exhaustive"

test-all: $(READY)  ## the heavy tests: real processes, kills, studies; gpu tests where there is one
	@$(MAKE) mlflow-2.7.1 || echo "no MLflow 2.7.1: its tests are skipped"
	@$(MAKE) lowest || echo "no environment of the lowest versions: their tests are skipped"
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "(heavy or gpu) and not exhaustive"

test-exhaustive: $(READY)  ## further kills, devices and benchmarks, which would make test-all too long
	$(BIN)/python -m pytest -m exhaustive

test-lowest: $(LOWEST)-torch/.ready  ## the fast tests with the lowest versions allowed, torch's too (6 GB)
	$(LOWEST)-torch/bin/python -m pytest -n $(TEST_PROCESSES) -o filterwarnings=default -m "not heavy and not gpu and not exhaustive"

bench: $(READY)  ## the benchmarks, on this machine
	$(BIN)/python benchmarks

ui: $(READY)  ## open the MLflow UI on the local runs; UI_PORT=5001 takes another port
	@UI_PORT=$(UI_PORT) $(BIN)/python -m asl_exp.ui

docs: $(READY)  ## build the documentation's site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html; with search: $(BIN)/mkdocs serve"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

mlflow-2.7.1: $(OLD_MLFLOW)/.ready  ## the old server that tests talk to, in its own environment

$(OLD_MLFLOW)/.ready: tests/servers/mlflow-2.7.1.lock | $(UV)
	rm -rf $(OLD_MLFLOW)
	$(PYTHON) -m venv --without-pip $(OLD_MLFLOW)
	$(call install,$(OLD_MLFLOW),$<)
	touch $@

lowest: $(LOWEST)/.ready  ## the lowest versions that pyproject.toml allows, with .venv's torch

# Torch and CUDA are most of what there is to install: linked, they take no time and no room.
$(LOWEST)/.ready: tests/lowest.lock $(READY)
	rm -rf $(LOWEST)
	$(PYTHON) -m venv --without-pip $(LOWEST)
	awk '/^[a-z]/ {other = !/^(torch|torchvision|triton|cuda-.*|nvidia-[^m].*)==/} other' $< > $(LOWEST)/others.txt
	$(call install,$(LOWEST),$(LOWEST)/others.txt)
	for part in torch torch-* torchgen functorch torchvision torchvision-* torchvision.libs triton nvidia cuda; do \
	  for there in $(CURDIR)/.venv/lib/python3*/site-packages/$$part; do \
	    test ! -e "$$there" || ln -sf "$$there" $(LOWEST)/lib/python3*/site-packages/; done; done
	touch $@

$(LOWEST)-torch/.ready: tests/lowest.lock | $(UV)
	rm -rf $(LOWEST)-torch
	$(PYTHON) -m venv --without-pip $(LOWEST)-torch
	$(call install,$(LOWEST)-torch,$<)
	touch $@

lock: $(UV)  ## resolve the newest versions anew
	$(UV) pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
	  --generate-hashes --no-strip-extras --no-annotate --no-header --upgrade -o requirements.lock
	$(UV) pip compile pyproject.toml tests/lowest.in --resolution lowest-direct --python-version 3.11 \
	  --generate-hashes --no-strip-extras --no-annotate --no-header --upgrade -o tests/lowest.lock

clean:  ## remove caches and the environment, never runs/
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache

$(UV): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  "asl_exp needs Python 3.11 or newer; run: make PYTHON=python3.12 " + "$(MAKECMDGOALS)")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	awk '/^[a-z]/ {it = /^uv==/} it' $< > .venv/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
	touch $@

$(READY): requirements.lock pyproject.toml | $(UV)
	@echo "installing what asl_exp needs into .venv, once: about 7 GB on disk (torch with its CUDA"
	@echo "libraries is most of it); 2 minutes on a fast line. uv keeps a copy for the next time."
	$(call install,.venv,$<)
	@echo "compiling them, on all cores"
	@$(BIN)/python -m compileall -qq -j 0 -x '/(tests?|testing/_internal)/' .venv/lib || true  # of templates that are no Python
	@echo "installed; the first command takes some 20 s to load torch and MLflow"
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(READY)
