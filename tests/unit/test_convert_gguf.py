"""From a GGUF file to an ordinary model folder, with a small one made on the spot."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from deeprec.config import PolicyConfig
from deeprec.policy.loading import load_policy

gguf = pytest.importorskip("gguf")

ROOT = Path(__file__).resolve().parents[2]
LETTERS = [chr(code) for code in range(33, 127)]
VOCABULARY = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *LETTERS, "Ġ", "Ċ", "he"]
CHAT = "{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}<|im_start|>"
NAMES = {  # of Llama's weights in a GGUF file
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("convert_gguf", ROOT / "tools" / "convert_gguf.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build_model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=len(VOCABULARY), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=True,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = LlamaForCausalLM(shape).eval()
    for weight in model.parameters():
        if weight.dim() > 1:
            weight.data.normal_(0.0, 0.3)
    return model


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of queries and keys in the order of GGUF: the two that turn together are neighbours."""
    rows, width = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, width).swapaxes(1, 2).reshape(rows, width)


def write_gguf(file: Path, model: LlamaForCausalLM) -> None:
    config = model.config
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(8)
    writer.add_vocab_size(len(VOCABULARY))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(VOCABULARY)
    writer.add_token_types([3] * 3 + [1] * (len(VOCABULARY) - 3))
    writer.add_token_merges(["h e"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(CHAT)
    for name, weight in model.named_parameters():
        values = weight.detach().numpy()
        if "q_proj" in name or "k_proj" in name:
            values = interleaved(values, 4 if "q_proj" in name else 2)
        bare = name.removesuffix(".weight")
        if bare.startswith("model.layers."):
            _, _, number, own = bare.split(".", 3)
            writer.add_tensor(f"blk.{number}.{NAMES[own]}.weight", values)
        else:
            writer.add_tensor(f"{NAMES[bare]}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_folder_holds_the_same_model_with_the_files_own_special_tokens(tmp_path: Path) -> None:
    made = build_model()
    write_gguf(tmp_path / "small.gguf", made)
    tool().convert(tmp_path / "small.gguf", tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").is_file()
    policy = load_policy(str(tmp_path / "model"), PolicyConfig())
    ids = torch.tensor([policy.codec.encode("he+the~x")])
    assert ids[0, 0] == VOCABULARY.index("he")
    rows = len(VOCABULARY)
    torch.testing.assert_close(policy.model(ids).logits[..., :rows], made(ids).logits, atol=1e-4, rtol=1e-4)
    tokenizer = policy.tokenizer
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert tokenizer.chat_template == CHAT
    assert (
        policy.codec.decode(policy.codec.encode_prompt("he", chat=True))
        == "<|im_start|>he<|im_end|><|im_start|>"
    )


def test_what_is_no_llama_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converter = tool()
    monkeypatch.setattr(
        converter.AutoModelForCausalLM, "from_pretrained", lambda *_, **__: torch.nn.Linear(1, 1)
    )
    with pytest.raises(SystemExit, match="holds a Linear; only Llama-type models"):
        converter.convert(tmp_path / "other.gguf", tmp_path / "model")
