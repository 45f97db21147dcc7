"""Does exploring work because the language model knows the items? The same with real titles, and with two kinds that say nothing.

`real` titles; `pseudonyms`, words that don't exist (data.pseudonyms); `unknown`, English titles of films that don't exist (those of the
simulated catalogue). Years, categories, histories, targets and settings are the same. Small settings: the differences count, not the heights.

    python benchmarks/titles_known.py tiny runs/titles --source ml-100k.zip     # a tiny policy, trained three times from nothing
    python benchmarks/titles_known.py asked runs/ml-100k --source ml-100k.zip --model models/smollm2-135m

`asked`: a pretrained model as it comes, greedy. It names the kind of film that somebody would like next, which steers the TRM of RUN; and it
orders that TRM's plain top 20 by the likelihood of their titles behind the history, a token on average.
"""  # noqa: E501 - commands stand on one line

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from deeprec.config import DataConfig, RunConfig, load_config
from deeprec.data.dataset import Dataset
from deeprec.data.prepare import prepare
from deeprec.data.raw import RawData
from deeprec.data.readers.movielens import read_ml_100k
from deeprec.data.synthetic import simulate
from deeprec.evaluation.bootstrap import paired_differences
from deeprec.evaluation.evaluate import choose_examples
from deeprec.evaluation.stage import load_evaluation, run_evaluation
from deeprec.metrics import ranking_metrics
from deeprec.pipeline import build_recommenders, load_stages, prepare_policy
from deeprec.policy.loading import load_causal_lm
from deeprec.rl.stage import run_rl
from deeprec.rollout.title_likelihoods import Likelihoods
from deeprec.run import Run
from deeprec.stages import RL_STAGES
from deeprec.trm.base import ExplorableRetriever
from deeprec.types import Example

KINDS = ("real", "pseudonyms", "unknown")
SMALL = (
    "trm.epochs=8",
    "warm_start.reading_epochs=4",
    "warm_start.text_epochs=1",
    "warm_start.script_steps=40",
    "rl.users_per_step=8",
    "rl.evaluate_every=1000",
    "rl.cold_start.steps=2",
    "rl.recommendation.steps=3",
    "evaluation.sampled=false",
    "evaluation.max_users=300",
)
POOL, TOP, SHOWN = 20, 10, 10  # items retrieved; of the list; titles of a history that the model is shown
ASKED = (
    "In a few words, say what kind of film they would like to watch next. Answer with the kind of film only."
)


def unknown_titles(path: Path, config: DataConfig) -> RawData:
    """MovieLens-100K under titles of the simulated catalogue; each keeps its year."""
    raw = read_ml_100k(path, config)
    world = config.synthetic.model_copy(update={"items": max(raw.items.height, 16), "users": 50})
    years = raw.items["year"].to_list()
    titles = [
        title[: title.rindex("(")].strip() for title in simulate(world, 0).raw.items["title"].head(len(years))
    ]
    shown = [f"{title} ({year})" if year else title for title, year in zip(titles, years, strict=True)]
    return replace(raw, items=raw.items.with_columns(title=pl.Series(shown, dtype=pl.String)))


def settings_of(kind: str, source: Path) -> RunConfig:
    """Settings of a run with a kind of titles."""
    overrides = [*SMALL, f"data.source={source}", f"data.pseudonyms={str(kind == 'pseudonyms').lower()}"]
    if kind == "unknown":
        overrides.append("data.name=titles_known:unknown_titles")
    return load_config("ml-100k", None, overrides)


def train(folder: Path, kind: str, source: Path) -> Run:
    """The run of a kind of titles, trained as far as it is not yet."""
    run = Run.create(folder / kind, settings_of(kind, source))
    dataset, trm = prepare_policy(run)
    for stage in RL_STAGES:
        run_rl(run, dataset, trm, stage)
    run_evaluation(run, dataset, trm, build_recommenders(run, ["trm", "recommendation"], (dataset, trm)))
    return run


def trained_row(run: Run, kind: str) -> tuple[object, ...]:
    """What the evaluation of a trained policy says."""
    found = load_evaluation(run)
    trm, policy = (found.methods[name] for name in ("trm", "recommendation"))
    behaviour = policy.behaviour
    spread = behaviour.dependence if behaviour else None
    gain = policy.differences["trm"]["ndcg@10"]
    return (
        kind,
        f"{policy.metrics['validity'].mean:.3f}",
        f"{spread.distinct}/{spread.users}" if spread else "-",
        f"{spread.commonest_share:.2f}" if spread else "-",
        f"{policy.metrics['pool_recall'].mean:.3f}",
        f"{trm.metrics['ndcg@10'].mean:.4f}",
        f"{policy.metrics['ndcg@10'].mean:.4f}",
        f"{gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]",
    )


@dataclass(frozen=True)
class Pretrained:
    """A pretrained language model as it comes, shown the latest titles of a history."""

    folder: Path

    @cached_property
    def loaded(self) -> tuple:
        """Model and tokenizer."""
        model, tokenizer = load_causal_lm(str(self.folder), "float32")
        return model.eval(), tokenizer

    def ids(self, text: str) -> tuple[int, ...]:
        """Tokens of a text."""
        return tuple(self.loaded[1](text, add_special_tokens=False)["input_ids"])

    def prefer(self, dataset: Dataset, examples: Sequence[Example], batch: int = 32) -> list[str]:
        """A preference in words for each user, greedy, at most 16 tokens, its first line."""
        import torch

        model, tokenizer = self.loaded
        tokenizer.padding_side = "left"
        prompts = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": f"Somebody watched these films:\n{shown(dataset, e)}\n{ASKED}"}],
                add_generation_prompt=True,
                tokenize=False,
            )
            for e in examples
        ]
        found: list[str] = []
        for start in range(0, len(prompts), batch):
            part = tokenizer(
                prompts[start : start + batch], return_tensors="pt", padding=True, add_special_tokens=False
            )
            with torch.inference_mode():
                ids = model.generate(
                    **part, max_new_tokens=16, do_sample=False, pad_token_id=tokenizer.pad_token_id
                )
            texts = tokenizer.batch_decode(ids[:, part["input_ids"].shape[1] :], skip_special_tokens=True)
            found += [text.strip().split("\n")[0].strip() for text in texts]
        return found

    def order(
        self, dataset: Dataset, examples: Sequence[Example], pools: Sequence[Sequence[int]]
    ) -> list[list[int]]:
        """Each user's pool by the likelihood of its titles behind the history, a token on average, likeliest first."""
        rows = [
            (
                self.ids(f"Films that somebody watched, oldest first:\n{shown(dataset, e)}\n"),
                [self.ids(f"{dataset.catalog[item].title}\n") for item in pool],
            )
            for e, pool in zip(examples, pools, strict=True)
        ]
        found = []
        for pool, values, (_, titles) in zip(
            pools, Likelihoods(self.loaded[0]).behind(rows), rows, strict=True
        ):
            each = values / np.array([len(title) for title in titles])
            found.append([pool[place] for place in np.argsort(-each, kind="stable")])
        return found


def shown(dataset: Dataset, example: Example) -> str:
    """The latest titles of a history, a line each, oldest first."""
    return "\n".join(dataset.catalog[item].title for item in example.history[-SHOWN:])


def asked_rows(model: Pretrained, run: Run, source: Path, users: int) -> None:
    """Print a row a kind of titles. The TRM of the run answers for all, from the same pools."""
    dataset, trm = load_stages(run)
    examples, _ = choose_examples(dataset, "test", users, 0)
    plain = pools_of(trm, examples, None)
    base = ndcg(plain, examples)
    for kind in KINDS:
        own = prepare(settings_of(kind, source).data, 0)
        said = model.prefer(own, examples)
        pool = pools_of(trm, examples, said)
        values = ndcg(model.order(own, examples, plain), examples)
        gain = paired_differences(values[:, None], base[:, None], 2000, 0)[0]
        words = [text.casefold() for text in said]
        commonest = max(set(words), key=lambda text: (words.count(text), text))
        print(
            kind,
            f"{np.mean([bool(text) for text in said]):.3f}",
            f"{len(set(words))}/{len(words)}",
            f"{words.count(commonest) / len(words):.2f} '{commonest[:40]}'",
            f"{hits(pool, examples):.3f} (plain {hits(plain, examples):.3f})",
            f"{base.mean():.4f}",
            f"{values.mean():.4f}",
            f"{gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]",
            sep="\t",
            flush=True,
        )


def pools_of(
    trm: ExplorableRetriever, examples: Sequence[Example], said: Sequence[str] | None
) -> list[list[int]]:
    """The TRM's top items for each user, steered by what was said, without what they had."""
    histories = [example.history for example in examples]
    found = trm.retrieve(histories, said, POOL, histories)
    return [[int(item) for item in row] for row in found.item_indices]


def hits(pools: Sequence[Sequence[int]], examples: Sequence[Example]) -> float:
    """Share of users whose target is in their pool."""
    return float(np.mean([e.target in pool for pool, e in zip(pools, examples, strict=True)]))


def ndcg(lists: Sequence[Sequence[int]], examples: Sequence[Example]) -> np.ndarray:
    """NDCG@10 (U,)."""
    return ranking_metrics([row[:TOP] for row in lists], [e.target for e in examples])["ndcg@10"]


def main() -> None:
    """Print a row a kind of titles."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["tiny", "asked"])
    parser.add_argument("folder", type=Path, help="of the three runs, or a run that has a TRM")
    parser.add_argument("--source", type=Path, required=True, help="ml-100k.zip")
    parser.add_argument(
        "--model", type=Path, help="folder of a pretrained language model with a chat template"
    )
    parser.add_argument("--users", type=int, default=300, help="users that the pretrained model is asked for")
    chosen = parser.parse_args()
    print(
        "titles",
        "valid",
        "distinct",
        "commonest",
        "target in pool",
        "TRM",
        "policy",
        "NDCG@10 - TRM",
        sep="\t",
    )
    if chosen.what == "asked":
        asked_rows(Pretrained(chosen.model), Run.open(chosen.folder), chosen.source, chosen.users)
        return
    for kind in KINDS:
        print(*trained_row(train(chosen.folder, kind, chosen.source), kind), sep="\t", flush=True)


if __name__ == "__main__":
    main()
