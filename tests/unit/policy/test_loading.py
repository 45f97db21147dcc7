"""Policies by name or path."""

from __future__ import annotations

import builtins
import json
from pathlib import Path

import pytest
import torch
from models import byte_level_tokenizer, save_model
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from deeprec.config import PolicyConfig
from deeprec.errors import MissingExtraError, PolicyError
from deeprec.policy.loading import load_policy, load_tokenizer, save_policy
from deeprec.rollout.codec import TokenizerCodec
from deeprec.rollout.engines.base import Request, Sampling
from deeprec.rollout.engines.local import LocalEngine
from deeprec.rollout.tags import TAGS

KINDS = ("llama", "gpt2")


@pytest.mark.parametrize("kind", KINDS)
def test_each_tag_starts_at_the_mean_of_its_own_pieces(tmp_path: Path, kind: str) -> None:
    before = save_model(tmp_path, kind)
    rows = before.config.vocab_size
    plain = load_tokenizer(str(tmp_path))
    spelt = {tag: plain.encode(tag, add_special_tokens=False) for tag in TAGS.all}
    policy = load_policy(str(tmp_path), PolicyConfig())
    model, tokenizer, codec = policy.model, policy.tokenizer, policy.codec
    ids = [codec.tag_ids[tag] for tag in TAGS.all]
    assert sorted(ids) == list(range(rows, rows + 8))
    assert tokenizer.pad_token_id == rows + 8 != tokenizer.eos_token_id
    assert model.config.pad_token_id == tokenizer.pad_token_id
    for find in ("get_input_embeddings", "get_output_embeddings"):
        old, new = getattr(before, find)().weight, getattr(model, find)().weight
        assert new.shape[0] == rows + 9
        torch.testing.assert_close(new[:rows], old)
        for tag, pieces in spelt.items():
            assert len(pieces) > 1
            torch.testing.assert_close(new[codec.tag_ids[tag]], old[pieces].mean(dim=0))
        torch.testing.assert_close(new[tokenizer.pad_token_id], old.mean(dim=0))
        apart = torch.pdist(new[ids])  # begin must be told from end
        assert apart.min() > 0.01 * old.std()
    text = f"a{TAGS.begin_preference}1990s é 漢{TAGS.end_preference}\n"
    assert codec.decode(codec.encode(text)) == text


def test_tags_that_a_tokenizer_spells_alike_are_still_told_apart(tmp_path: Path) -> None:
    save_model(tmp_path, "llama")
    words = Tokenizer(WordLevel({"[UNK]": 0, "films": 1, "</s>": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", unk_token="[UNK]").save_pretrained(
        tmp_path
    )
    policy = load_policy(str(tmp_path), PolicyConfig())
    model, tokenizer = policy.model, policy.tokenizer
    ids = [tokenizer.convert_tokens_to_ids(tag) for tag in TAGS.all]
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        assert torch.pdist(layer.weight[ids]).min() > 0.01 * layer.weight.std()


def test_spare_rows_are_used_before_the_matrix_grows(tmp_path: Path) -> None:
    before = save_model(tmp_path, "llama", spare_rows=20)
    model = load_policy(str(tmp_path), PolicyConfig()).model
    assert model.get_input_embeddings().weight.shape == before.get_input_embeddings().weight.shape


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rank", [0, 4])
def test_what_is_saved_loads_the_same(tmp_path: Path, kind: str, rank: int) -> None:
    save_model(tmp_path / "base", kind)
    policy = load_policy(str(tmp_path / "base"), PolicyConfig(lora_rank=rank))
    model, tokenizer = policy.model, policy.tokenizer
    ids = torch.tensor([policy.codec.encode(f"films {TAGS.end_think} of the {TAGS.begin_list}")])
    untouched = model(ids).logits
    torch.manual_seed(3)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data.add_(0.05 * torch.randn_like(weight))
    trained = model(ids).logits
    save_policy(model, tokenizer, tmp_path / "saved")
    assert torch.equal(model(ids).logits, trained)  # saving leaves the model as it was
    loaded = load_policy(str(tmp_path / "saved"), PolicyConfig())
    assert type(loaded.model).__name__ in {"LlamaForCausalLM", "GPT2LMHeadModel"}
    torch.testing.assert_close(loaded.model(ids).logits, trained, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(trained, untouched, atol=1e-2)
    assert loaded.tokenizer.get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize("kind", KINDS)
def test_lora_starts_as_the_base_and_trains_the_tags(tmp_path: Path, kind: str) -> None:
    save_model(tmp_path, kind)
    plain = load_policy(str(tmp_path), PolicyConfig()).model
    policy = load_policy(str(tmp_path), PolicyConfig(lora_rank=2))
    adapted = policy.model
    ids = torch.tensor([policy.codec.encode(f"films {TAGS.begin_list} of{TAGS.end_list}")])
    torch.testing.assert_close(adapted(ids).logits, plain(ids).logits)
    adapted(ids, labels=ids).loss.backward()
    moved = {
        name for name, weight in adapted.named_parameters() if weight.grad is not None and weight.grad.any()
    }
    assert any("trainable_tokens" in name for name in moved)
    assert all("lora_" in name or "trainable_tokens" in name for name in moved)
    engine = LocalEngine(adapted, seed=0)
    request = Request(0, tuple(ids[0].tolist()), 5)
    assert len(engine.generate([request], Sampling(1.0, 0.95, 5, frozenset()))[0].token_ids) == 5


def test_dtype_is_taken_from_the_config(tmp_path: Path) -> None:
    save_model(tmp_path, "llama")
    assert load_policy(str(tmp_path), PolicyConfig(dtype="bfloat16")).model.dtype == torch.bfloat16


def test_a_tokenizer_without_room_for_the_tags_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tmp_path, "llama")
    # What a tokenizer with a closed vocabulary does: it takes nothing and doesn't complain.
    monkeypatch.setattr(PreTrainedTokenizerFast, "_add_tokens", lambda *_, **__: 0)
    with pytest.raises(
        PolicyError, match=r"won't take '<.begin_of_preference.>' as one token; use a fast tokenizer"
    ):
        load_policy(str(tmp_path), PolicyConfig())


def test_a_model_whose_embeddings_cant_grow_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tmp_path, "llama")

    def fixed(*_: object, **__: object) -> None:
        raise NotImplementedError("quantized embeddings\ncan't be resized")

    monkeypatch.setattr(LlamaForCausalLM, "resize_token_embeddings", fixed)
    with pytest.raises(
        PolicyError, match=r"rows for the tags \(quantized embeddings can't be resized\); use full"
    ):
        load_policy(str(tmp_path), PolicyConfig())


def test_places_that_hold_no_model(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="no such folder"):
        load_policy(str(tmp_path / "nowhere"), PolicyConfig())
    with pytest.raises(PolicyError, match=r"no config\.json"):
        load_policy(str(tmp_path), PolicyConfig())
    (tmp_path / "file").write_text("")
    with pytest.raises(PolicyError, match="is a file"):
        load_policy(str(tmp_path / "file"), PolicyConfig())


@pytest.mark.parametrize("harm", ["config", "weights", "no_weights", "tokenizer", "half"])
def test_a_damaged_folder_is_named(tmp_path: Path, harm: str) -> None:
    save_model(tmp_path, "llama")
    weights = tmp_path / "model.safetensors"
    if harm == "config":
        (tmp_path / "config.json").write_text("{not json")
    elif harm == "weights":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif harm == "no_weights":
        weights.unlink()
    elif harm == "tokenizer":
        (tmp_path / "tokenizer.json").write_text("{}")
    else:
        from safetensors.torch import load_file, save_file

        state = load_file(weights)
        del state["model.layers.1.mlp.up_proj.weight"]
        save_file(state, weights, metadata={"format": "pt"})
    with pytest.raises(PolicyError, match=r"can't be read|not whole") as caught:
        load_policy(str(tmp_path), PolicyConfig())
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_without_end_of_text_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path, "llama")
    file = tmp_path / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    del settings["eos_token"]
    file.write_text(json.dumps(settings))
    with pytest.raises(PolicyError, match="no end-of-text token"):
        load_policy(str(tmp_path), PolicyConfig())


def test_an_unreachable_hub_names_the_manual_way(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(PolicyError, match="hf download nobody/no-such-model --local-dir"):
        load_policy("nobody/no-such-model", PolicyConfig())


def test_lora_without_peft_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(tmp_path, "llama")
    real = builtins.__import__

    def without_peft(name: str, *args: object, **kwargs: object) -> object:
        if name == "peft":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_peft)
    with pytest.raises(MissingExtraError, match=r"policy.lora_rank needs an extra .*\[train\]"):
        load_policy(str(tmp_path), PolicyConfig(lora_rank=4))


def test_a_failed_save_leaves_the_old_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(tmp_path / "base", "llama")
    policy = load_policy(str(tmp_path / "base"), PolicyConfig())
    model, tokenizer = policy.model, policy.tokenizer
    save_policy(model, tokenizer, tmp_path / "saved")
    before = (tmp_path / "saved" / "model.safetensors").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tokenizer, "save_pretrained", full)
    with pytest.raises(PolicyError, match="No space left"):
        save_policy(model, tokenizer, tmp_path / "saved")
    assert (tmp_path / "saved" / "model.safetensors").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "saved"]


def test_a_codec_for_a_tokenizer_without_the_tags_says_what_adds_them() -> None:
    codec = TokenizerCodec(byte_level_tokenizer())
    assert codec.decode(codec.encode("a film")) == "a film"
    with pytest.raises(
        PolicyError, match=r"'<.begin_of_preference.>' is not one token; load it with .*load_policy"
    ):
        _ = codec.tag_ids
