"""Tokens per second of the local engine against `generate()` on the whole context each turn.

Both write the same kind of trajectories with the same random model: three segments a row,
each ended by a stop token or a cap, with 40 tokens of the environment after each of the
first two. The naive way runs a batch in lock-step and reads everything again each turn; it
is not asked for log-probabilities, which the engine always gives.

    python benchmarks/rollout_speed.py --json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from deeprec.rollout.engines.base import Request, Sampling
from deeprec.rollout.engines.local import LocalEngine

TURNS, APPENDED = 3, 40
Contexts = list[list[int]]


class _NoText:
    """The engine decodes for stop texts only, and there are none."""

    eos_id = 0
    tag_ids: dict[str, int | None] = {}  # noqa: RUF012

    def encode(self, text: str) -> list[int]:
        raise NotImplementedError

    def decode(self, ids: object) -> str:
        raise NotImplementedError


def build_model(options: argparse.Namespace) -> PreTrainedModel:
    """A random model whose next tokens are spread out, so that rows stop at different times."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=options.vocabulary,
        hidden_size=options.width,
        intermediate_size=4 * options.width,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        num_key_value_heads=options.key_value_heads or options.heads,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = Qwen2ForCausalLM(config).eval()
    for weight in model.parameters():
        if weight.dim() > 1:
            weight.data.normal_(0.0, weight.shape[1] ** -0.5)
    return model.to(options.device)


def build_prompts(options: argparse.Namespace) -> tuple[Contexts, list[Contexts]]:
    """Prompts (rows), and what the environment appends (turns, rows)."""
    draw = np.random.default_rng(0)
    groups = options.batch // options.group
    prompts = [
        draw.integers(options.vocabulary, size=int(draw.integers(150, 201))).tolist() for _ in range(groups)
    ]
    appended = draw.integers(options.vocabulary, size=(TURNS, options.batch, APPENDED)).tolist()
    return [list(prompts[row // options.group]) for row in range(options.batch)], appended


def run_engine(
    model: PreTrainedModel, prompts: Contexts, appended: list[Contexts], sampling: Sampling
) -> list[list[list[int]]]:
    """Segments (turns, rows) by the local engine."""
    engine = LocalEngine(model, _NoText(), seed=0)
    contexts = [list(prompt) for prompt in prompts]
    written = []
    for turn in range(TURNS):
        requests = [Request(row, tuple(ids), sampling.max_new_tokens) for row, ids in enumerate(contexts)]
        segments = [list(segment.token_ids) for segment in engine.generate(requests, sampling)]
        for context, ids, answer in zip(contexts, segments, appended[turn], strict=True):
            context += ids + answer
        written.append(segments)
    return written


def run_naive(
    model: PreTrainedModel, prompts: Contexts, appended: list[Contexts], sampling: Sampling
) -> list[list[list[int]]]:
    """Segments (turns, rows) by `generate()` on padded whole contexts."""
    contexts = [list(prompt) for prompt in prompts]
    written = []
    for turn in range(TURNS):
        longest = max(map(len, contexts))
        ids = torch.tensor([[0] * (longest - len(context)) + context for context in contexts])
        mask = torch.tensor([[0] * (longest - len(context)) + [1] * len(context) for context in contexts])
        choice = {"do_sample": False} if sampling.temperature == 0 else {
            "do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0
        }  # fmt: skip
        output = model.generate(
            ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=sampling.max_new_tokens,
            eos_token_id=sorted(sampling.stop_ids),
            pad_token_id=0,
            **choice,
        )[:, longest:].tolist()
        segments = [_until_stop(ids, sampling.stop_ids) for ids in output]
        for context, ids, answer in zip(contexts, segments, appended[turn], strict=True):
            context += ids + answer
        written.append(segments)
    return written


def _until_stop(ids: list[int], stops: frozenset[int]) -> list[int]:
    for position, token in enumerate(ids):
        if token in stops:
            return ids[: position + 1]
    return ids


def measure(
    run: Callable[[], list[list[list[int]]]], repeats: int, clock: Callable[[], float]
) -> tuple[float, list[list[list[int]]]]:
    """Median tokens per second, and the last trajectories."""
    rates = []
    for _ in range(repeats):
        started = clock()
        written = run()
        seconds = clock() - started
        rates.append(sum(len(ids) for turn in written for ids in turn) / seconds)
    return statistics.median(rates), written


def compare(options: argparse.Namespace) -> list[dict[str, object]]:
    """One row for greedy and one for sampled trajectories, and the share of equal greedy segments."""
    model = build_model(options)
    prompts, appended = build_prompts(options)
    stops = frozenset(range(1, options.vocabulary, options.stop_every))
    clock = time.process_time if options.cpu_time else time.perf_counter
    rows: list[dict[str, object]] = []
    for name, temperature, top_p in (("greedy", 0.0, 1.0), ("sampled", 1.0, 0.95)):
        sampling = Sampling(temperature, top_p, options.new_tokens, stops)
        run_engine(model, prompts, appended, Sampling(temperature, top_p, 2, stops))  # warm up
        ours, written = measure(
            lambda s=sampling: run_engine(model, prompts, appended, s), options.repeats, clock
        )
        naive, expected = measure(
            lambda s=sampling: run_naive(model, prompts, appended, s), options.repeats, clock
        )
        rows.append(_row(f"rollout_{name}", ours, "tokens/s", "generate() on whole contexts", naive))
        if temperature == 0:
            pairs = [
                (a, b) for x, y in zip(written, expected, strict=True) for a, b in zip(x, y, strict=True)
            ]
            equal = sum(a == b for a, b in pairs) / len(pairs)
            rows.append(_row("greedy_segments_equal", equal, "share", "generate() on whole contexts", 1.0))
    return rows


def _row(name: str, value: float, unit: str, peer: str, peer_value: float) -> dict[str, object]:
    digits = {
        "value": round(value, 4),
        "peer_value": round(peer_value, 4),
        "ratio": round(value / peer_value, 3),
    }
    return {"name": name, "value": digits["value"], "unit": unit, "peer": peer, **digits}


def main() -> None:
    """Print one line a figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    defaults = {"layers": 4, "width": 128, "heads": 8, "key-value-heads": 0, "vocabulary": 6000, "batch": 64,
                "group": 1, "new-tokens": 60, "stop-every": 33, "repeats": 3, "threads": 2}  # fmt: skip
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--cpu-time", action="store_true", help="count CPU seconds: for a machine that is shared"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    if options.batch % options.group:
        parser.error("--batch must be a multiple of --group")
    torch.set_num_threads(options.threads)
    for row in compare(options):
        if options.json:
            print(json.dumps(row))
        else:
            print("{name}: {value} {unit}; {peer}: {peer_value}; ratio {ratio}".format(**row))


if __name__ == "__main__":
    main()
