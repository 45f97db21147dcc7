"""The warm start: makes the policy, or loads it, and teaches it the format on the fit part."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeprec.config import RunConfig
from deeprec.contents import model_files, present
from deeprec.data.dataset import Dataset
from deeprec.device import best_device
from deeprec.disk import read_jsonl
from deeprec.inputs import Inputs, constants_of
from deeprec.ledger import write_ledger
from deeprec.next_item import training
from deeprec.next_item.model import ItemModel
from deeprec.policy import tiny, title_vectors, tokenizer
from deeprec.policy.environment import build_environment
from deeprec.policy.loading import Policy, load_policy, save_policy
from deeprec.policy.probe import training_piece
from deeprec.policy.sizes import checkpoint_size, policy_size
from deeprec.policy.tiny import build_tiny, start_titles
from deeprec.policy.title_vectors import fact_vectors
from deeprec.policy.titles import check_titles
from deeprec.policy.tokenizer import build_tokenizer
from deeprec.rl import course, joint, list_prior, reading, recipe, scripts, supervised, wish_scripts
from deeprec.rl.course import fit_jointly
from deeprec.rl.documents import fact_documents, history_documents
from deeprec.rl.extras import require_extra
from deeprec.rl.joint import JointPlan, JointTrainer
from deeprec.rl.list_prior import set_priors
from deeprec.rl.reading import habits_of, half_of, label_names, read_histories
from deeprec.rl.scripts import Taught, corpus
from deeprec.rl.supervised import StepLog, fit_documents
from deeprec.rl.warm_check import build_check
from deeprec.rl.whole_scripts import whole_scripts
from deeprec.rl.wish_scripts import build_wish_scripts, wish_corpus
from deeprec.run import Run, writes
from deeprec.space import LOGS, require_space
from deeprec.stages import READING, TRM, WARM_START
from deeprec.threads import stage_threads
from deeprec.trm import resuming as trm_resuming
from deeprec.trm.base import ExplorableRetriever, Retriever
from deeprec.trm.resuming import FitLog
from deeprec.trm.stage import fit_checkpoint
from deeprec.trm.training import fit_histories

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Log = Callable[[dict[str, float]], None]

STAGE = WARM_START
READING_LOG = "warm_start:reading"  # in the log
_INPUTS = "inputs.txt"  # beside the weights that have read: what they depend on


@writes
def run_warm_start(run: Run, dataset: Dataset, trm: ExplorableRetriever) -> None:
    """Leave a policy at `run.policy("warm_start")`; does nothing if that is up to date.

    With `warm_start.enabled` off the untrained policy is saved as it is. Raises MissingExtraError without the
    extra `train`, before anything is made.
    """
    config = run.config
    trm_inputs = run.require(TRM)["inputs"]
    inputs = stage_inputs(config, trm_inputs)
    folders = [run.policy(STAGE), *([run.policy(READING)] if config.warm_start.reads else [])]
    if run.is_current(STAGE, inputs.fingerprint) and all(folder.is_dir() for folder in folders):
        return
    if config.warm_start.enabled:
        require_extra()
    inputs.refuse_earlier(run)
    started = time.perf_counter()
    policy = make_policy(config, dataset)
    if config.rollout.list == "free":
        check_titles(policy.codec, dataset.catalog, config.policy.model)
    require_space(run.folder, _space(run, policy), f"stage '{STAGE}'", [_checkpoints(run)])
    inputs.begin(run)  # a model that can't be had is refused before: what is there stays
    if config.policy.model == "tiny" and config.policy.title_vectors:
        vectors = fact_vectors(dataset.catalog, trm.text_vectors(), config.policy.width)
        start_titles(policy.model, policy.tokenizer, dataset.catalog, vectors, config.seed)
    earlier = 0.0
    if config.warm_start.enabled:
        with stage_threads(run, STAGE, inputs.fingerprint, training_piece(policy.model)):
            earlier = _train(run, dataset, trm, policy, inputs.fingerprint)
    else:
        write_ledger(run, STAGE, ())
    save_policy(policy.model, policy.tokenizer, run.policy(STAGE))
    parameters = sum(weight.numel() for weight in policy.model.parameters())
    seconds = earlier + time.perf_counter() - started
    inputs.finish(run, seconds / 60, parameters=parameters)
    shutil.rmtree(_checkpoints(run), ignore_errors=True)  # last: until then a full disk costs no training


def _space(run: Run, policy: Policy) -> int:
    """Bytes that the stage needs at its fullest."""
    settings, saved = run.config.warm_start, policy_size(policy)
    if not settings.enabled:
        return saved + LOGS
    # Two at a time: the next checkpoint is written before the last one goes. One of reading and speaking side
    # by side holds two optimizers, a running mean and the best weights.
    side_by_side = settings.reads and run.config.rollout.list == "masked"
    speaking = (5 if side_by_side else 2) * checkpoint_size(policy, with_tokenizer=False)
    reading = trm_resuming.checkpoint_size(policy.model) if settings.reads else 0
    return max(reading, speaking + settings.reads * saved) + saved + LOGS


def stage_inputs(config: RunConfig, trm: str) -> Inputs:
    """What the policy depends on; `trm` is the fingerprint of the TRM's inputs."""
    taught: dict[str, Any] = {}
    if config.warm_start.enabled:
        taught = {"prompts": recipe.prompts(config.rollout), "scripts": recipe.scripts(config.rollout)}
        if config.wishes.share:
            taught["wishes"] = wish_scripts.what_counts()
    return Inputs.of(
        config,
        STAGE,
        TRM=trm,
        tokenizer=recipe.tokenizer(config.policy),
        constants_of_the_policy=constants_of(
            tiny, title_vectors, tokenizer, scripts, supervised, reading, joint, course, list_prior
        ),
        **present(files_of_the_model=model_files(config.policy.model)),
        **taught,
    )


def make_policy(config: RunConfig, dataset: Dataset) -> Policy:
    """The untrained policy: tiny and built from the catalogue, or any causal LM by name or path."""
    if config.policy.model != "tiny":
        return load_policy(config.policy.model, config.policy)
    lines = max(config.rollout.history, config.rollout.retrieved, config.rollout.recommended)
    heard = wish_corpus(dataset) if config.wishes.share else ()
    tokenizer = build_tokenizer(dataset.catalog, corpus(dataset, heard), config.policy.pieces, lines)
    return Policy.of(build_tiny(config.policy, tokenizer, config.seed), tokenizer)


def _train(run: Run, dataset: Dataset, trm: Retriever, policy: Policy, inputs: str) -> float:
    """Read if the settings say so, then scripts, going on from the last checkpoint if that had the same inputs.

    Returns the seconds that a reading took which was not done again.
    """
    settings, place = run.config.warm_start, _checkpoints(run) / inputs
    if not place.is_dir():  # with other inputs there is nothing to go on from
        shutil.rmtree(_checkpoints(run), ignore_errors=True)
    log = StepLog(run, STAGE, place)
    given = dataset.fit_histories() if settings.text_epochs or settings.reads else []
    earlier = _read(run, dataset, policy) if settings.reads else 0.0
    wishes = build_wish_scripts(run.config, dataset, policy.codec)
    taught = Taught(whole_scripts(run, dataset, trm, policy, given, wishes), wishes)
    write_ledger(run, STAGE, given)
    if settings.reads and run.config.rollout.list == "masked":
        _speak_and_read(run, dataset, trm, policy, taught, place, log)
    else:
        _speak(run, dataset, policy, taught, place, log)
    if run.config.rollout.list == "masked":
        set_priors(policy.model, build_environment(run, dataset, trm, policy), run.config.wishes)
    return earlier


def _speak(run: Run, dataset: Dataset, policy: Policy, taught: Taught, place: Path, log: Log) -> None:
    """Texts and scripts, one mixture: a policy that read texts first had unlearned to copy titles (docs/log.md)."""
    config, codec = run.config, policy.codec
    texts = history_documents(dataset, codec, config.rollout)
    if config.policy.model == "tiny":  # a loaded one is taught form, not a catalogue
        texts += fact_documents(dataset.catalog, codec)
    texts = config.warm_start.text_epochs * texts
    if taught.wishes is not None:
        texts += [
            text for step in range(config.warm_start.script_steps) for text in taught.wishes.texts(step)
        ]
    fit_documents(
        policy.model,
        [script.document for script in taught.scripts] + texts,
        pad_id=policy.tokenizer.pad_token_id,
        epochs=1,
        config=config.warm_start,
        seed=config.seed,
        folder=place,
        title="Warm start",
        log=log,
    )


def _speak_and_read(
    run: Run, dataset: Dataset, trm: Retriever, policy: Policy, taught: Taught, place: Path, log: Log
) -> None:
    """Let it learn to speak while it is held to what it has read: the same weights read, speak and rank."""
    config, settings = run.config, run.config.warm_start
    plan = JointPlan(
        steps=settings.script_steps,
        scripts_per_step=settings.trajectories_per_step,
        learning_rate=settings.learning_rate,
        history=config.rollout.list_history,
        seed=config.seed,
        folder=place,
        habits=habits_of(config),
        minutes=half_of(settings.minutes),
    )
    policy.model.to(best_device())
    items = ItemModel(policy.model, policy.tokenizer, label_names(policy, dataset))
    heard = None if taught.wishes is None else taught.wishes.batches
    trainer = JointTrainer(items, [one.spoken for one in taught.scripts], fit_histories(dataset), plan, heard)
    fit_jointly(trainer, log, build_check(run, dataset, trm, policy))


def _read(run: Run, dataset: Dataset, policy: Policy) -> float:
    """Let `policy` read histories, in place; weights of an earlier reading with the same inputs are taken again.

    So reading is done once, however often the scripts are changed or interrupted. Returns the
    seconds that an earlier reading took.
    """
    config, place = run.config, run.policy(READING)
    inputs = reading_inputs(config, dataset, policy.tokenizer).fingerprint
    if (place / _INPUTS).is_file() and (place / _INPUTS).read_text(encoding="utf-8") == inputs:
        whole = config.policy.model_copy(update={"lora_rank": 0})
        policy.model.load_state_dict(load_policy(str(place), whole).model.state_dict())
        read = [row for row in read_jsonl(run.metrics) if row.get("stage") == READING_LOG]
        return float(read[-1]["seconds"]) if read else 0.0
    (place / _INPUTS).unlink(missing_ok=True)
    checkpoint = fit_checkpoint(place, inputs)
    earlier = checkpoint.seconds
    log = FitLog(run, READING_LOG, checkpoint)
    policy.model.to(best_device())
    read_histories(policy, dataset, config, log, checkpoint)
    save_policy(policy.model, policy.tokenizer, place)
    (place / _INPUTS).write_text(inputs, encoding="utf-8")
    checkpoint.remove()
    return earlier


def reading_inputs(config: RunConfig, dataset: Dataset, tokenizer: PreTrainedTokenizerBase) -> Inputs:
    """What the weights that have read depend on."""
    return Inputs.of(
        config,
        READING,
        data=dataset.fingerprint,
        tokenizer=tokenizer.get_vocab(),
        constants=constants_of(tiny, title_vectors, training, reading),
        **present(files_of_the_model=model_files(config.policy.model)),
    )


def _checkpoints(run: Run) -> Path:
    return run.folder / "policy" / f"{STAGE}.checkpoints"
