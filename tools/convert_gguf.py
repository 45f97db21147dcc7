"""Turn a GGUF file into an ordinary model folder: safetensors, config and tokenizer.

    python tools/convert_gguf.py MODEL.gguf FOLDER

For Llama-type models (what transformers reads as `LlamaForCausalLM`). Quantised weights are
computed back to float32, which doubles no precision: what the quantisation lost stays lost. Needs
the extra `pretrained` (the package `gguf`).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast


def convert(file: Path, folder: Path) -> None:
    """Write what `file` holds into `folder`, which any tool that reads safetensors can load."""
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    if not isinstance(model, LlamaForCausalLM):
        raise SystemExit(f"{file}: holds a {type(model).__name__}; only Llama-type models are converted")
    read = model.config.to_dict()
    # What was read counts as quantised, and transformers refuses to save that.
    read.pop("quantization_config", None)
    plain = LlamaForCausalLM(type(model.config).from_dict(read))
    plain.load_state_dict(model.state_dict())
    tokenizer = read_tokenizer(file, model.config.eos_token_id, model.config.bos_token_id)
    plain.generation_config.pad_token_id = plain.config.pad_token_id
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def read_tokenizer(file: Path, eos: int, bos: int | None) -> PreTrainedTokenizerFast:
    """The file's tokenizer. Its ids of special tokens are the model's: transformers names others for some files."""
    found = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    tokens = {"eos_token": found.convert_ids_to_tokens(eos), "pad_token": found.convert_ids_to_tokens(eos)}
    if bos is not None:
        tokens["bos_token"] = found.convert_ids_to_tokens(bos)
    return PreTrainedTokenizerFast(
        tokenizer_object=found.backend_tokenizer,
        chat_template=found.chat_template,
        clean_up_tokenization_spaces=False,  # spaces before punctuation are part of the text
        **tokens,
    )


def main() -> int:
    """Convert what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="the GGUF file")
    parser.add_argument("folder", type=Path, help="where the model is written")
    arguments = parser.parse_args()
    if not arguments.file.is_file():
        parser.error(f"{arguments.file}: no such file")
    convert(arguments.file, arguments.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
