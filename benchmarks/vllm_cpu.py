"""vLLM beside our own engine on a processor: the same trajectories, how far their log-probabilities are apart, and tokens a second.

    VLLM_CPU_OMP_THREADS_BIND=nobind python benchmarks/vllm_cpu.py RUN [--users 96]

RUN holds a policy whose heads are 32 wide, such as `deeprec quickstart --preset ci --set policy.heads=3
--set policy.key_value_heads=3`. vLLM runs in this process, then as a server that is asked for token ids. Lists are drawn in this process
where the run draws them. `tools/vllm_cpu.sh` installs what is needed, makes such a run, and prints these figures.
"""  # noqa: E501 - what it is for stands on one line

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from deeprec.config import override_config
from deeprec.data.dataset import Dataset
from deeprec.evaluation.evaluate import choose_examples
from deeprec.pipeline import load_stages
from deeprec.policy.environment import build_environment, build_remote_environment
from deeprec.policy.loading import Policy, load_policy
from deeprec.rollout.engines.openai import OpenAIEngine
from deeprec.rollout.environment import Environment
from deeprec.rollout.runner import run_episodes
from deeprec.run import Run
from deeprec.trm.base import Retriever
from deeprec.types import Example, Trajectory

SERVER = (
    "vllm.entrypoints.openai.api_server"  # `vllm serve` of vllm-cpu looks for a package that is called vllm
)


def explored(
    name: str, environment: Environment, examples: Sequence[Example], *, greedy: bool
) -> list[Trajectory]:
    """Trajectories, after a batch that starts the engine; prints tokens a second."""
    run_episodes(examples[:8], environment, greedy=greedy)
    clock, work = time.perf_counter(), time.process_time()
    found = run_episodes(examples, environment, greedy=greedy)
    clock, work = time.perf_counter() - clock, time.process_time() - work
    tokens = sum(sum(one.loss_mask) for one in found)
    print(
        f"{name:8} {'greedy' if greedy else 'sampled':8} {tokens:6} sampled tokens  "
        f"{tokens / work:7.0f} a second of this process's processor  {tokens / clock:7.0f} by the clock",
        flush=True,
    )
    return found


def compare(name: str, found: Sequence[Trajectory], expected: Sequence[Trajectory]) -> None:
    """How many trajectories and lists are the same, and how far the log-probabilities of those are apart."""
    same = [
        (one, other)
        for one, other in zip(found, expected, strict=True)
        if one.response_ids == other.response_ids
    ]
    lists = sum(one.ranking == other.ranking for one, other in zip(found, expected, strict=True))
    apart = np.concatenate([np.abs(np.subtract(one.logprobs, other.logprobs)) for one, other in same])
    sampled = np.concatenate([np.array(one.loss_mask, dtype=bool) for one, _ in same])
    known = apart[sampled & ~np.isnan(apart)]
    print(
        f"{name:8} {len(same)} of {len(found)} trajectories and {lists} lists are those of local; log-probabilities "
        f"apart: median {np.median(known):.1e}, at most {known.max():.1e} nats",
        flush=True,
    )


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a vLLM server with the policy in `folder`."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    command = [sys.executable, "-m", SERVER, "--model", str(folder), "--served-model-name", "policy"]
    options = ["--port", str(port), "--dtype", "float32", "--enforce-eager", "--no-enable-chunked-prefill"]
    log = Path("vllm-server.log")
    with log.open("w") as output:
        server = subprocess.Popen([*command, *options], stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait_for(port, server, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait(60)


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        if server.poll() is not None:
            raise SystemExit(f"the server ended with {server.returncode}; what it said: {log}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(1)
    raise SystemExit(f"the server does not listen at {port}; what it said: {log}")


def beside_local(run: Run, dataset: Dataset, trm: Retriever, policy: Policy, users: int) -> None:
    """Rows of `local`, of vLLM in this process, and of a server."""
    examples, _ = choose_examples(dataset, "test", users, 0)
    expected: list[Trajectory] = []
    for kind in ("local", "vllm"):
        chosen = Run(
            run.folder, override_config(run.config, [f"engine.kind={kind}", "engine.vllm_memory=0.2"])
        )
        environment = build_environment(chosen, dataset, trm, policy)
        found = explored(kind, environment, examples, greedy=True)
        if kind == "local":
            expected = found
        else:
            compare(kind, found, expected)
            environment.engine.forget()  # the weights go over again
            compare("again", run_episodes(examples, environment, greedy=True), expected)
        explored(kind, environment, examples, greedy=False)
    folder = run.last_policy()
    with served(folder) as url:
        length = policy.model.config.max_position_embeddings
        with OpenAIEngine(url, "policy", policy.codec, context_length=length) as engine:
            environment = build_remote_environment(run, dataset, trm, engine, policy.codec, folder)
            compare("served", explored("served", environment, examples, greedy=True), expected)


def main() -> None:
    """Print the rows for a run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--users", type=int, default=96)
    chosen = parser.parse_args()
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
    run = Run.open(chosen.run)
    dataset, trm = load_stages(run)
    policy = load_policy(str(run.last_policy()), run.config.policy)
    beside_local(run, dataset, trm, policy, chosen.users)


if __name__ == "__main__":
    main()
