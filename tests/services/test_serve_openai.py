"""A policy behind a real OpenAI-compatible server (`transformers serve`): it answers as it does in this process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from openai_server import transformers_serve
from serve_world import run_folder, running, small_environment

from deeprec.errors import EngineError
from deeprec.rollout.engines.openai import OpenAIEngine
from deeprec.rollout.masked import MaskedLists
from deeprec.rollout.runner import run_episodes
from deeprec.rollout.tags import TAGS
from deeprec.run import Run
from deeprec.serve.loading import Remote, load_service

USERS = 4


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's policy as other servers read it rightly.

    They leave special tokens out of text, so that tags are ordinary ones here. And they take
    every Qwen2 model's tokenizer to be Qwen's own; the same weights also make a Llama.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from deeprec.policy.loading import load_policy

    run = Run.open(run_folder())
    folder = tmp_path_factory.mktemp("policy") / "twin"
    shutil.copytree(run.last_policy(), folder)
    model = load_policy(str(folder), run.config.policy).model
    shape = model.config.to_dict()
    kept = (
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "rope_parameters", "tie_word_embeddings",
        "eos_token_id", "pad_token_id",
    )  # fmt: skip
    llama = LlamaForCausalLM(LlamaConfig(**{name: shape[name] for name in kept}, attention_bias=True))
    weights = dict(model.state_dict())
    for name in llama.state_dict():
        if name.endswith("o_proj.bias"):
            weights[name] = torch.zeros(shape["hidden_size"])
    llama.load_state_dict(weights)
    llama.save_pretrained(folder)
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    for token in tokenizer["added_tokens"]:
        token["special"] = token["special"] and token["content"] not in TAGS.all
    file.write_text(json.dumps(tokenizer), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def server(twin: Path) -> Iterator[str]:
    with transformers_serve(twin) as address:
        yield address


def test_trajectories_are_the_same_as_in_this_process(server: str, twin: Path) -> None:
    local = small_environment()
    users = [local.dataset.known_history(user) for user in local.dataset.user_ids[:USERS]]
    with OpenAIEngine(server, str(twin), local.codec, context_length=512) as engine:
        found = run_episodes(users, replace(local, engine=engine), greedy=True)
    assert [one.response_ids for one in found] == [
        one.response_ids for one in run_episodes(users, local, greedy=True)
    ]
    assert {str(one.stop_reason) for one in found} == {"finished"}


def test_a_service_whose_policy_is_there(server: str, twin: Path, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'store.db'}"
    remote = Remote(f"{server}/v1", str(twin))
    service, trouble = load_service([run_folder()], store=store, remote=remote)
    local, _ = load_service([run_folder()], store=store)
    assert trouble is None
    with running(service) as there, running(local) as here:
        answers = [
            client.post("/v1/recommendations", json={"user_id": "u1"}).json() for client in (there, here)
        ]
    for answer in answers:
        answer["request_id"] = answer["seconds"] = None
    assert answers[0] == answers[1]
    assert answers[0]["turns"]


def test_a_server_that_leaves_tags_out_is_named(twin: Path, tmp_path: Path) -> None:
    local = small_environment()
    folder = tmp_path / "as-saved"
    shutil.copytree(twin, folder)
    shutil.copy(Run.open(run_folder()).last_policy() / "tokenizer.json", folder)
    user = local.dataset.known_history("u1")
    with (
        transformers_serve(folder) as address,
        OpenAIEngine(address, str(folder), local.codec, context_length=512) as engine,
        pytest.raises(EngineError, match="leaves special tokens out"),
    ):
        run_episodes([user], replace(local, engine=engine), greedy=True)


def test_masked_lists_are_drawn_here_by_the_policy_that_is_served_elsewhere(tmp_path: Path) -> None:
    service, trouble = load_service(
        [run_folder()],
        store=f"sqlite:///{tmp_path / 'b.db'}",
        remote=Remote("http://127.0.0.1:9", "m", context=512),
        overrides=["rollout.list=masked"],
    )
    assert trouble is None
    assert isinstance(service.runs[0]._environment.lists, MaskedLists)
