"""Does the published item encoder earn its place? An ablation on a run's data, as a table.

The published encoder adapts texts with a mixture of 8 linear experts (UniSRec) and fuses the
sequences of ids and texts by a gated convolution in the frequency domain (TedRec). Such a convolution
looks ahead: a place of the fused sequence depends on all others, so that only the last place of a
history can be trained, not all of them at once. Hence two regimes, each with the same data, sizes
and stopping:

- `every place`: as deeprec trains; the sum of id and text, with 1 and with 8 experts.
- `last place`: one random prefix of each window and epoch; the sum with 1 and with 8 experts, and
  8 experts with the frequency-domain fusion.

    deeprec data prepare ml-100k --source ml-100k.zip --run runs/ml-100k
    python benchmarks/trm_published.py --run runs/ml-100k --seeds 0 1 --results results/tables
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from deeprec.config import TRMConfig
from deeprec.data.dataset import Dataset
from deeprec.data.stage import load_data
from deeprec.evaluation.results import fit_commands
from deeprec.evaluation.tables import Cell, FigureTable, render_table, write_table
from deeprec.metrics import ndcg, recall
from deeprec.run import Run, environment
from deeprec.trm.encoders import build_text_encoder
from deeprec.trm.item_texts import catalog_texts
from deeprec.trm.model import SequentialEncoder
from deeprec.trm.ranking import catalogue_ranks
from deeprec.trm.retriever import TRM, build_network
from deeprec.trm.text import CachedEncoder
from deeprec.trm.training import EncoderTrainer
from deeprec.trm.windows import Window, cut_batches, cut_windows, pad_right


class FrequencyFusion(SequentialEncoder):
    """Ids and texts fused as sequences: their convolution by FFT, gated, is added to their sum."""

    def __init__(self, **sizes: float) -> None:
        super().__init__(**sizes)  # type: ignore[arg-type]
        width = int(sizes["width"])
        self.fusion_gate = nn.Linear(2 * width, width)
        self._parts: tuple[Tensor, Tensor] | None = None

    def item_table(self, text: Tensor, keep_id: Tensor) -> Tensor:
        """As without fusion; the two parts are remembered for the sequences."""
        self._parts = (self.ids.weight * keep_id.unsqueeze(-1), self.text_adaptor(text))
        return self._parts[0] + self._parts[1]

    def states(self, table: Tensor, histories: Tensor) -> Tensor:
        """User states (B, L + 1, W); only the one behind the last item may be used."""
        assert self._parts is not None
        full = torch.zeros(len(histories), self.history, dtype=histories.dtype, device=histories.device)
        full[:, : histories.shape[1]] = histories
        ids, texts = (part[full].float() for part in self._parts)
        with torch.autocast(full.device.type, enabled=False):
            product = torch.fft.rfft(ids, dim=1, norm="ortho") * torch.fft.rfft(texts, dim=1, norm="ortho")
            mixed = torch.fft.irfft(product, n=self.history, dim=1, norm="ortho") * self.history**0.5
        gate = torch.sigmoid(self.fusion_gate(torch.cat([ids, texts], dim=-1)))
        items = (ids + texts + gate * mixed) * (full > 0).unsqueeze(-1)
        start = self.start.expand(len(histories), 1, -1)
        states = torch.cat([start, items], dim=1)[:, : histories.shape[1] + 1] * len(self.start) ** 0.5
        states = self.input_dropout(states + self.positions.weight[: states.shape[1]])
        for block in self.blocks:
            states = block(states)
        normed: Tensor = self.state_norm(states)
        return normed


class LastPlaceTrainer(EncoderTrainer):
    """Trains the last place of one random prefix of each window."""

    def epoch(self, histories: Sequence[Window]) -> tuple[float, int]:
        """One prefix of every window; the mean loss and the number of trained places."""
        self.encoder.train()
        windows = cut_windows(histories, self.config.history + 1, self.rng)
        cut = [window[: int(self.rng.integers(2, len(window) + 1))] for window in windows if len(window) > 1]
        total, count = 0.0, 0
        for batch in cut_batches(cut, self.config.tokens_per_batch, self.rng):
            losses = self.step(pad_right(batch, self.device))
            total, count = total + float(losses.sum()), count + len(losses)
        return total / count, count

    def histories(self, windows: Tensor) -> Tensor:
        """Without the target of each row, which the convolution would see."""
        histories = windows.clone()
        histories.view(-1)[self.places(windows)] = 0
        return histories[:, :-1]

    def places(self, windows: Tensor) -> Tensor:
        """The last real place of each row, in the flattened windows."""
        last = (windows > 0).sum(dim=1) - 1
        return torch.arange(len(windows), device=windows.device) * windows.shape[1] + last


def build(config: TRMConfig, dataset: Dataset, text_dim: int, frequency: bool) -> nn.Module:
    """The network of the settings, with the fusion where it is asked for."""
    network = build_network(config, dataset.catalog.n_items, text_dim)
    if frequency:
        network.encoder = FrequencyFusion(
            n_items=dataset.catalog.n_items,
            text_dim=text_dim,
            width=config.width,
            layers=config.layers,
            heads=config.heads,
            inner=config.inner,
            experts=config.experts,
            dropout=config.dropout,
            history=config.history,
        )
    return network


def validated(
    dataset: Dataset,
    text: CachedEncoder,
    config: TRMConfig,
    seed: int,
    frequency: bool,
    last_epochs: int | None,
) -> tuple[float, float, int, float]:
    """Best validation NDCG@10 with its Recall@10, its epoch, and the minutes of training.

    `last_epochs` epochs at most of the last place alone; None: every place, as the settings say.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    texts = catalog_texts(text, dataset.catalog)
    histories = [np.asarray(example.history, dtype=np.int64) for example in dataset.fit_histories()]
    seen = np.zeros(dataset.catalog.n_items + 1, dtype=np.bool_)
    seen[np.unique(np.concatenate(histories))] = True
    network = build(config, dataset, text.dim, frequency)
    trainer = (LastPlaceTrainer if last_epochs else EncoderTrainer)(network.encoder, texts, seen, config, rng)
    shown = build(config, dataset, text.dim, frequency)
    every = 10 if last_epochs else 1  # epochs between validations: one of the last place holds little
    best, started, waited = (-1.0, 0.0, 0), time.monotonic(), 0
    for epoch in range(1, (last_epochs or config.epochs) + 1):
        trainer.epoch(histories)
        if epoch % every:
            continue
        shown.encoder.load_state_dict(trainer.weights())
        trm = TRM(shown, text, dataset.catalog, config, seen, texts)
        ranks = catalogue_ranks(trm, dataset.examples("validation"), dataset=dataset)
        found = float(ndcg(ranks, 10).mean())
        waited = 0 if found > best[0] else waited + 1
        if found > best[0]:
            best = (found, float(recall(ranks, 10).mean()), epoch)
        if waited >= config.patience:
            break
    return (*best, (time.monotonic() - started) / 60)


VARIANTS = (  # regime, fusion, experts, frequency, last place
    ("every place", "sum", 1, False, False),
    ("every place", "sum", 8, False, False),
    ("last place", "sum", 1, False, True),
    ("last place", "sum", 8, False, True),
    ("last place", "frequency domain", 8, True, True),
)


def main() -> None:
    """Print the table, and write it where `--results` says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, default=Path("runs/default"), help="a run with prepared data")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--last-epochs", type=int, default=300, help="epochs of the last place at most")
    parser.add_argument("--results", type=Path, help="folder for the table as JSON")
    options = parser.parse_args()
    run = Run.open(options.run)
    dataset, config = load_data(run), run.config.trm
    text = build_text_encoder(config, dataset.catalog, run.config.seed)
    rows: list[tuple[Cell, ...]] = []
    for regime, fusion, experts, frequency, last in VARIANTS:
        sized = config.model_copy(update={"experts": experts})
        for seed in options.seeds:
            found = validated(dataset, text, sized, seed, frequency, options.last_epochs if last else None)
            rows.append((regime, fusion, experts, seed, *(round(value, 4) for value in found)))
            print(rows[-1], flush=True)
    here = environment()
    table = FigureTable(
        dataset=dataset.name,
        title="The published item encoder, an ablation",
        note=(
            "Stopped by, and shown on, the validation part; no test target was ranked. Training of the last "
            f"place ended after {options.last_epochs} epochs at most."
        ),
        part="validation",
        targets=dataset.targets_hash("validation"),
        users=len(dataset.examples("validation")),
        seed=run.config.seed,
        columns=("trained", "fusion", "experts", "seed", "NDCG@10", "Recall@10", "best epoch", "minutes"),
        rows=tuple(rows),
        command=f"{fit_commands(run.config).splitlines()[0]}\npython benchmarks/trm_published.py --seeds "
        + " ".join(map(str, options.seeds))
        + f" --last-epochs {options.last_epochs}",
        machine=here["machine"],
        commit=here["commit"],
        versions=here["versions"],
    )
    print(render_table(table))
    if options.results:
        write_table(options.results / f"{dataset.name}-published-encoder.json", table)


if __name__ == "__main__":
    main()
