"""A tiny policy that was saved beside its tokenizer reads and writes text as before."""

from __future__ import annotations

from pathlib import Path

from small_world import build_codec, build_dataset, explore, final_list, settings

from deeprec.config import PolicyConfig
from deeprec.policy.loading import load_policy, save_policy
from deeprec.policy.tiny import build_tiny
from deeprec.rollout.protocol import render_items, render_prompt


def test_the_loaded_tokenizer_encodes_alike(tmp_path: Path) -> None:
    dataset, codec = build_dataset(), build_codec()
    sizes = PolicyConfig(width=16, heads=2, key_value_heads=1, inner=32, layers=1)
    save_policy(build_tiny(sizes, codec.tokenizer, 0), codec.tokenizer, tmp_path / "policy")
    loaded = load_policy(str(tmp_path / "policy"), sizes).codec
    example = dataset.examples("test")[0]
    text = render_prompt(example, dataset.catalog, settings()) + explore("Action; 1990s")
    text += render_items((1, 2), dataset.catalog) + final_list()
    assert loaded.encode(text) == codec.encode(text)
    assert loaded.decode(loaded.encode(text)) == text
    assert (loaded.eos_id, loaded.tag_ids) == (codec.eos_id, codec.tag_ids)
