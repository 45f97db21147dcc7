"""Any Hugging Face causal LM as a policy: loading, the protocol's tags, LoRA, saving."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

from deeprec.config import PolicyConfig
from deeprec.disk import whole_folder
from deeprec.errors import MissingExtraError, PolicyError
from deeprec.model_errors import is_unreadable
from deeprec.policy.folders import check_loaded, check_model, check_tokenizer
from deeprec.rollout.codec import TokenizerCodec
from deeprec.rollout.tags import TAGS
from deeprec.space import remedy_of

PAD = "<|pad|>"
_LONGEST_REASON = 300  # characters of what a library says


@dataclass(frozen=True)
class Policy:
    """A causal LM in this process, its tokenizer, and the codec by which episodes read and write."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    codec: TokenizerCodec

    @classmethod
    def of(cls, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Policy:
        """Raises PolicyError for a tokenizer without an end-of-text token."""
        return cls(model, tokenizer, TokenizerCodec(tokenizer))


def load_policy(name: str, config: PolicyConfig) -> Policy:
    """Load a causal LM and its tokenizer by hub name or folder, ready to speak the protocol.

    Tags and padding that the tokenizer lacks are added as special tokens; a tag's embedding
    starts at the mean of those of the pieces that it was made of. Weights come in
    `config.dtype`, from safetensors only, and no code of the repository is run. With
    `config.lora_rank` the model is wrapped in LoRA adapters (extra `train`), which leave
    its output as it is until they are trained.
    Raises PolicyError for what can't be read, isn't whole, or has no room for the tags.
    Whether the context is long enough is the stage's to check: it knows the prompts.
    """
    model, tokenizer = load_causal_lm(name, config.dtype)
    _add_tags(model, tokenizer, name)
    if config.lora_rank:
        model = _with_adapters(model, tokenizer, config.lora_rank)
    return Policy.of(model.eval(), tokenizer)


def load_causal_lm(
    name: str, dtype: str, setting: str = "policy.model"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal LM and its tokenizer as they were saved, from safetensors only; no code of the repository is run.

    `setting` is where the name came from. Raises PolicyError for what can't be read or isn't whole.
    """
    _check_place(name, setting)
    tokenizer = load_tokenizer(name, setting)
    return _read_model(name, dtype, setting), tokenizer


def save_policy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Save both in ordinary Hugging Face format; the folder appears whole or not at all.

    LoRA adapters are merged into a copy of the weights, so that any tool can load the
    result; `model` itself stays as it is and can be trained on. The copy lives in main
    memory, wherever the model does.
    """
    # Into a copy: rounding a merge into the weights and out again would change what is trained on.
    if hasattr(model, "merge_and_unload"):
        device = model.device
        merged = copy.deepcopy(model.to("cpu"))
        model.to(device)
        model = merged.merge_and_unload()
    try:
        with whole_folder(folder) as part, silently():
            model.save_pretrained(part)
            tokenizer.save_pretrained(part)
    except OSError as error:
        reason = error.strerror or error
        raise PolicyError(f"{folder}: the policy can't be saved ({reason}); {remedy_of(error)}") from error


def _check_place(name: str, setting: str) -> None:
    """Tell a folder from a hub name before the libraries guess."""
    place = Path(name).expanduser()
    if place.is_dir():
        if not (place / "config.json").is_file():
            raise PolicyError(f"{name}: no config.json here; name a folder with a saved Hugging Face model")
    elif place.exists():
        raise PolicyError(f"{name}: is a file; name the folder of a saved Hugging Face model")
    elif place.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise PolicyError(f"{name}: no such folder; check {setting}")


def source_of(name: str) -> str:
    """A folder's path with the user's home spelt out, or the name on the hub."""
    place = Path(name).expanduser()
    return str(place) if place.is_dir() else name


@contextmanager
def silently() -> Iterator[None]:
    """No progress bars and notices of transformers' own: the library is silent, the command line draws ours."""
    was_drawn, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if was_drawn:
            logging.enable_progress_bar()


def load_tokenizer(name: str, setting: str = "policy.model") -> PreTrainedTokenizerBase:
    """The tokenizer alone, as it was saved; raises PolicyError for one that can't be read or has no end of text."""
    with readable(name, "tokenizer", setting):
        declared = check_tokenizer(source_of(name), name).get("tokenizer_class")
        # A Qwen2 model's tokenizer is rebuilt by AutoTokenizer as Qwen's own, with other rules for
        # splitting text, even where the files declare a plain one: ours would lose line breaks.
        reader = PreTrainedTokenizerFast if declared == PreTrainedTokenizerFast.__name__ else AutoTokenizer
        tokenizer = reader.from_pretrained(source_of(name), trust_remote_code=False)
    if tokenizer.eos_token_id is None:
        raise PolicyError(f"{name}: its tokenizer has no end-of-text token; set eos_token and save it again")
    return tokenizer


def _read_model(name: str, dtype: str, setting: str) -> PreTrainedModel:
    with readable(name, "model", setting), silently():
        model, report = AutoModelForCausalLM.from_pretrained(
            source_of(name),
            config=check_model(source_of(name), name),
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        missing = sorted(report["missing_keys"])
        if missing:
            raise PolicyError(
                f"{name}: {len(missing)} weights are missing, such as '{missing[0]}'; "
                "the folder is not whole: copy or download it again"
            )
        check_loaded(model, name)
    return model


@contextmanager
def readable(name: str, what: str, setting: str) -> Iterator[None]:
    """Turn whatever the libraries raise over a model's files into one PolicyError that names the folder."""
    try:
        yield
    except PolicyError:
        raise
    except Exception as error:
        if not is_unreadable(error):
            raise
        raise PolicyError(_unreadable(name, what, error, setting)) from error


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:_LONGEST_REASON] or type(error).__name__


def _unreadable(name: str, what: str, error: BaseException, setting: str) -> str:
    reason = _reason(error)
    if Path(name).expanduser().is_dir():
        return (
            f"{name}: its {what} can't be read ({reason}); copy or download the folder again "
            "(a run's own policy: delete it, and `deeprec quickstart` makes it again)"
        )
    return (
        f"{name}: its {what} can't be fetched from the hub ({reason}); check the name, or on a machine with access "
        f"run `hf download {name} --local-dir FOLDER`, bring FOLDER here and set {setting} to its path"
    )


def _add_tags(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Make every tag, and padding, one token that the model has an embedding for."""
    spelt = {tag: tokenizer.encode(tag, add_special_tokens=False) for tag in TAGS.all}
    lacking = [tag for tag in TAGS.all if not _is_one_token(tokenizer, tag)]
    before = set(tokenizer.get_vocab().values())
    tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in lacking], special_tokens=True)
    if tokenizer.pad_token_id is None:
        # Not the end-of-text token: what ends a text must stay visible to training.
        tokenizer.add_special_tokens({"pad_token": PAD})
    for tag in TAGS.all:
        if not _is_one_token(tokenizer, tag):
            raise PolicyError(f"{name}: its tokenizer won't take {tag!r} as one token; use a fast tokenizer")
    ids = set(tokenizer.get_vocab().values())
    pieces = {int(tokenizer.convert_tokens_to_ids(tag)): spelt[tag] for tag in lacking}
    try:
        _extend_embeddings(model, sorted(ids - before), max(ids) + 1, pieces)
    except (NotImplementedError, RuntimeError, ValueError) as error:
        raise PolicyError(
            f"{name}: its embeddings can't be extended to {max(ids) + 1} rows for the tags "
            f"({_reason(error)}); use full-precision weights, or save the model with spare rows"
        ) from error
    model.config.pad_token_id = tokenizer.pad_token_id
    if model.generation_config is not None:
        model.generation_config.pad_token_id = tokenizer.pad_token_id


def _is_one_token(tokenizer: PreTrainedTokenizerBase, tag: str) -> bool:
    ids = tokenizer.encode(tag, add_special_tokens=False)
    return len(ids) == 1 and ids[0] != tokenizer.unk_token_id


@torch.no_grad()
def _extend_embeddings(
    model: PreTrainedModel, added: Sequence[int], size: int, pieces: Mapping[int, Sequence[int]]
) -> None:
    """Rows for added ids, in and out; spare rows are used first.

    An id in `pieces` (a tag) starts at the mean of the rows of what it was written with before:
    so its meaning is near, and no two tags are alike. Any other starts at the mean of all old rows.
    """
    if not added:
        return
    old = min(added)
    if size > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(size, mean_resizing=False)
    seen: set[int] = set()
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        if layer is not None and layer.weight.data_ptr() not in seen:  # tied weights are one tensor
            seen.add(layer.weight.data_ptr())
            for table in (layer.weight, getattr(layer, "bias", None)):
                if table is not None:
                    _start_rows(table, added, old, pieces)


def _start_rows(table: Tensor, added: Sequence[int], old: int, pieces: Mapping[int, Sequence[int]]) -> None:
    known = table[:old].float()
    spread = known.std(dim=0)
    given: list[tuple[int, ...]] = []
    for row in added:
        own = sorted(pieces.get(row, ()))
        start = known[own].mean(dim=0) if own else known.mean(dim=0)
        if own and tuple(own) in given:
            # A tokenizer that knows no letter of two tags spells both alike (as unknown): chance tells them apart.
            noise = torch.randn(start.shape, generator=torch.Generator().manual_seed(row))
            start = start + spread * noise.to(start.device)
        given.append(tuple(own))
        table[row] = start.to(table.dtype)


def _with_adapters(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rank: int) -> Any:
    """LoRA on all linear layers; the tags' own embeddings, in and out, are trained in full."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise MissingExtraError("policy.lora_rank", "train") from None
    tags = [int(tokenizer.convert_tokens_to_ids(tag)) for tag in TAGS.all]
    layers = [model.get_input_embeddings()]
    if not model.config.get_text_config().tie_word_embeddings:
        layers.append(model.get_output_embeddings())
    names = [name.rsplit(".", 1)[-1] for name, module in model.named_modules() if module in layers]
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=2 * rank,
        target_modules="all-linear",
        trainable_token_indices=dict.fromkeys(names, tags),
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        warnings.filterwarnings("ignore", "fan_in_fan_out", UserWarning)  # GPT-2's layers; peft sets it right
        torch.manual_seed(0)  # adapters start alike in every process
        return get_peft_model(model, config)
