"""A run at full size on one GPU within a time budget: how fast, how much memory, how good.

    python benchmarks/gpu_full_size.py scratch --source ml-1m.zip --run runs/gpu-scratch --minutes 8 --out scratch.json
    python benchmarks/gpu_full_size.py pretrained --source ml-1m.zip --run runs/gpu-smollm2 --minutes 8 \
        --model models/smollm2-135m --stages-from runs/gpu-scratch --out smollm2.json

`scratch` trains as large a policy as there is time for from nothing (6 layers x 384), `pretrained` all
weights of a pretrained one. Both explore MovieLens-1M as the preset `ml-1m` prepares it, with one TRM
(`--stages-from` takes it from the other run, and waits for it). Stage 2 of RL gets as many iterations as
the budget leaves, by what stage 1's took. The figures are written after each stage, so that what was
measured outlives a run that is cut short. `--smoke` makes everything tiny: to see that all of it runs, on a CPU
as well. `--model made-up` stands for a random model of SmolLM2-135M's shape.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from made_up_model import save_made_up

from deeprec.ablation.sharing import share
from deeprec.config import RunConfig, load_config, override_config
from deeprec.data.dataset import Dataset
from deeprec.data.stage import run_data
from deeprec.disk import read_jsonl, write_atomically
from deeprec.errors import TrainingError
from deeprec.evaluation.heldout import build_heldout
from deeprec.evaluation.stage import run_evaluation
from deeprec.pipeline import build_recommenders
from deeprec.policy.loading import load_tokenizer
from deeprec.rl.stage import StageName, run_rl
from deeprec.rl.warm_start import run_warm_start
from deeprec.rollout.codec import TokenizerCodec
from deeprec.rollout.protocol import render_prompt
from deeprec.run import Run, environment
from deeprec.trm.stage import load_trm, run_trm, stage_inputs

# What both jobs have in common: the data and the TRM of the preset `ml-1m`, evaluation on a sample.
COMMON = (
    "rl.users_per_step=32",
    "rl.evaluate_every=1000",
    "rl.evaluate_users=128",
    "evaluation.sampled=false",
)
JOBS = {
    "scratch": (
        *COMMON,
        "policy.width=384", "policy.layers=6", "policy.heads=8", "policy.key_value_heads=4", "policy.inner=1024",
        "warm_start.reading_epochs=30", "warm_start.reading_minutes=1.5", "warm_start.reading_learning_rate=2e-3",
        "warm_start.script_steps=400", "warm_start.trajectories_per_step=16", "warm_start.learning_rate=1e-3",
        "rl.users_per_step=64", "rl.trajectories_per_pass=128", "rl.evaluate_users=1000",
        "rl.cold_start.steps=6", "rl.cold_start.learning_rate=5e-5", "rl.recommendation.learning_rate=1e-4",
        "rollout.users_per_batch=512", "evaluation.max_users=2000",
    ),
    "pretrained": (
        *COMMON,
        'rollout.template="full"', "rollout.prior_users=200", "rollout.list_history=20",
        "rollout.history=20", "rollout.max_retrievals=3",
        "rollout.segment_tokens=192", "rollout.response_tokens=3072", "rollout.users_per_batch=256",
        "warm_start.reading_epochs=0", "warm_start.text_epochs=0",
        "warm_start.script_steps=250", "warm_start.trajectories_per_step=8", "warm_start.learning_rate=2e-4",
        "rl.trajectories_per_pass=8",
        "rl.cold_start.steps=4", "rl.cold_start.learning_rate=1e-5", "rl.recommendation.learning_rate=1e-5",
        "evaluation.max_users=300",
    ),
}  # fmt: skip
SMOKE = (
    "trm.max_minutes=0.1", "warm_start.script_steps=3", "warm_start.trajectories_per_step=2", "rl.users_per_step=2",
    "rl.rollouts_per_user=2", "rl.evaluate_users=4", "rl.cold_start.steps=1", "rl.trajectories_per_pass=4",
    "rl.collapse={entropy = 0.01, repetition = 0.5}", "rollout.prior_users=4",
    "evaluation.max_users=4", "evaluation.bootstrap=100",
)  # fmt: skip
SMOKE_OF = {
    "scratch": ("warm_start.reading_epochs=1", "policy.width=64", "policy.layers=2", "policy.inner=96"),
    # A made-up model has a token for hardly more than each letter.
    "pretrained": ("rollout.segment_tokens=640", "rollout.response_tokens=4096", "rollout.retrieved=10"),
}
RESERVED = {"scratch": 90.0, "pretrained": 110.0}  # seconds kept for held-out figures and the evaluation
FIGURES = ("reward", "validity", "retrievals", "tokens", "response_tokens", "pool_recall", "hit_rate", "entropy",
           "seconds/rollout", "seconds/training", "heldout/reward", "heldout/validity", "heldout/ndcg@10",
           "heldout/recall@10")  # fmt: skip


class Record:
    """What was measured so far, in a file after each stage, and told while it happens."""

    def __init__(self, file: Path, minutes: float) -> None:
        self.file, self.began, self.minutes = file, time.monotonic(), minutes
        self.values: dict[str, Any] = {"stages": {}}
        file.parent.mkdir(parents=True, exist_ok=True)

    @property
    def left(self) -> float:
        """Seconds of the budget that are left."""
        return 60 * self.minutes - (time.monotonic() - self.began)

    def say(self, text: str) -> None:
        """Print a line with the time."""
        print(f"[{time.monotonic() - self.began:6.1f} s] {text}", flush=True)

    def keep(self, name: str, values: Any) -> None:
        """Add figures, and write the file."""
        self.values[name] = values
        write_atomically(self.file, json.dumps(self.values, indent=1))
        self.say(f"{name}: {json.dumps(values)[:600]}")

    def stage(self, name: str, action: Any, **facts: Any) -> Any:
        """Run one stage; its seconds and the GPU's peak memory are kept."""
        self.say(f"stage {name} begins")
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        started = time.monotonic()
        found = action()
        entry: dict[str, Any] = {"seconds": round(time.monotonic() - started, 1), **facts}
        if torch.cuda.is_available():
            entry["peak_memory_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
            torch.cuda.empty_cache()
        self.values["stages"][name] = entry
        self.keep("stages", self.values["stages"])
        return found


def configure(options: argparse.Namespace) -> RunConfig:
    """The settings of a job."""
    chosen = [*JOBS[options.job], f'data.source="{options.source}"']
    if options.model:
        chosen.append(f'policy.model="{options.model}"')
    if options.smoke:
        chosen += [*SMOKE, *SMOKE_OF[options.job]]
    return load_config("ml-1m", overrides=[*chosen, *options.set])


def prepare_trm(run: Run, dataset: Dataset, donor: Path | None, record: Record) -> Any:
    """Fit the TRM, or take that of another run as soon as it is there."""
    if donor is None:
        return record.stage("trm", lambda: run_trm(run, dataset))
    while True:
        if (donor / "run.toml").is_file():
            share(run, "trm", stage_inputs(run, dataset).fingerprint, [Run.open(donor)])
        if run.trm.is_dir():
            return record.stage("trm", lambda: load_trm(run, dataset), shared=True)
        if record.left < 0:
            raise SystemExit(f"{donor}: no TRM with these settings within the time")
        time.sleep(1)


def watch_log(run: Run, record: Record) -> None:
    """Tell new rows of the run's log as they come."""
    shown = 0
    while True:
        rows = read_jsonl(run.metrics)
        for row in rows[shown:]:
            kept = {
                k: v
                for k, v in row.items()
                if k in FIGURES or k in ("stage", "step", "epoch", "loss", "ndcg")
            }
            record.say(json.dumps(kept))
        shown = len(rows)
        time.sleep(3)


def train(run: Run, dataset: Dataset, trm: Any, record: Record, *, smoke: bool) -> Run:
    """Warm start and both stages, the second as long as the budget lasts. Returns the run as it was set.

    A stage that collapsed ends the training, not the job: what was learned before is evaluated.
    """
    record.stage("warm_start", lambda: run_warm_start(run, dataset, trm))
    try:
        reinforce(run, dataset, trm, "cold_start", record)
        iteration = max(
            row["seconds/rollout"] + row["seconds/training"] for row in rl_rows(run, "cold_start")
        )
        reserved = RESERVED["scratch" if run.config.policy.model == "tiny" else "pretrained"]
        steps = 2 if smoke else max(1, int((record.left - reserved) / iteration))
        record.say(f"an iteration takes {iteration:.1f} s: {steps} in stage 2")
        run = Run.create(run.folder, override_config(run.config, [f"rl.recommendation.steps={steps}"]))
        reinforce(run, dataset, trm, "recommendation", record)
    except TrainingError as error:
        record.keep("stopped", str(error))
    return run


def reinforce(run: Run, dataset: Dataset, trm: Any, stage: StageName, record: Record) -> None:
    """One stage of reinforcement learning, with held-out figures."""
    watch = build_heldout(run, dataset, trm, stage)
    record.stage(stage, lambda: run_rl(run, dataset, trm, stage, watch))


def rl_rows(run: Run, stage: str) -> list[dict[str, Any]]:
    """The log's rows of iterations of a stage."""
    return [row for row in read_jsonl(run.metrics) if row.get("stage") == stage and "seconds/training" in row]


def speed(run: Run, dataset: Dataset) -> dict[str, Any]:
    """Tokens a second of sampling and training, over the iterations of both stages but each one's first."""
    codec = TokenizerCodec(load_tokenizer(str(run.policy("warm_start"))))
    protocol = run.config.rollout
    examples = dataset.examples("rl")[:200]
    prompts = [
        len(codec.encode_prompt(render_prompt(example, dataset.catalog, protocol), chat=protocol.chats))
        for example in examples
    ]
    prompt = sum(prompts) / len(prompts)
    count = run.config.rl.users_per_step * run.config.rl.rollouts_per_user
    rows = [row for stage in ("cold_start", "recommendation") for row in rl_rows(run, stage)[1:]]
    if not rows:
        return {"prompt_tokens": prompt}
    sampled = sum(row["tokens"] * count for row in rows)
    trained = sum((prompt + row["response_tokens"]) * count for row in rows)
    return {
        "trajectories_per_iteration": count,
        "iterations": len(rows),
        "prompt_tokens": round(prompt, 1),
        "sampled_tokens_per_trajectory": round(sampled / count / len(rows), 1),
        "sequence_tokens_per_trajectory": round(trained / count / len(rows), 1),
        "sampled_tokens_per_second": round(sampled / sum(row["seconds/rollout"] for row in rows), 1),
        "trained_tokens_per_second": round(trained / sum(row["seconds/training"] for row in rows), 1),
        "seconds_per_iteration": round(
            sum(row["seconds/rollout"] + row["seconds/training"] for row in rows) / len(rows), 2
        ),
    }


def evaluate(run: Run, dataset: Dataset, trm: Any, names: Sequence[str]) -> dict[str, Any]:
    """Figures of each method on the same test users."""
    summary = run_evaluation(run, dataset, trm, build_recommenders(run, names, (dataset, trm)))
    found: dict[str, Any] = {"users": summary.users}
    for name, method in summary.methods.items():
        intervals = {metric: [round(v, 4) for v in (interval.low, interval.mean, interval.high)]
                     for metric, interval in method.ranking.items()}  # fmt: skip
        extra = {key: round(method.figures[key], 4) for key in ("validity", "retrievals", "pool_recall")
                 if key in method.figures}  # fmt: skip
        found[name] = {**intervals, **extra, "seconds_per_user": method.seconds_per_user}
    return found


def main() -> None:
    """Run one job."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("job", choices=JOBS)
    parser.add_argument("--source", type=Path, required=True, help="MovieLens-1M as its host gives it")
    parser.add_argument("--run", type=Path, required=True, help="the run folder")
    parser.add_argument("--out", type=Path, required=True, help="file of the figures (JSON)")
    parser.add_argument("--minutes", type=float, required=True, help="time budget of the whole job")
    parser.add_argument("--model", help="pretrained: folder of the model, or `made-up`")
    parser.add_argument("--stages-from", type=Path, help="run whose TRM is taken")
    parser.add_argument("--smoke", action="store_true", help="tiny: only to see that it runs")
    parser.add_argument("--set", action="append", default=[], help="a setting, key=value")
    options = parser.parse_args()
    if options.model == "made-up":
        options.model = str(save_made_up(options.run.with_name(options.run.name + "-model")))
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")  # TF32: weights and sums stay float32
    record = Record(options.out, options.minutes)
    record.keep(
        "environment", {**environment(), "job": options.job, "smoke": options.smoke, "set": options.set}
    )
    run = Run.create(options.run, configure(options))
    threading.Thread(target=watch_log, args=(run, record), daemon=True).start()
    dataset = record.stage("data", lambda: run_data(run))
    trm = prepare_trm(run, dataset, options.stages_from, record)
    run = train(run, dataset, trm, record, smoke=options.smoke)
    record.keep("speed", speed(run, dataset))
    finished = run.finished()
    names = ["trm", *(name for name in ("warm_start", "cold_start", "recommendation") if name in finished)]
    names += ["trm-reranked"] if run.config.warm_start.reads else []
    record.keep("evaluation", record.stage("evaluation", lambda: evaluate(run, dataset, trm, names)))
    record.keep("finished", finished)
    record.keep("rows", [{k: row[k] for k in ("stage", "step", *FIGURES) if k in row} for row in
                         read_jsonl(run.metrics)])  # fmt: skip
    record.say("done")


if __name__ == "__main__":
    main()
