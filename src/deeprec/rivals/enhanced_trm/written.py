"""What a language model wrote, a line each as soon as it is written; nothing is asked twice.

A row is known by its `key`, the hash of model, prompt and cap. So a changed prompt is asked anew, and a
killed run goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from deeprec.disk import append_jsonl, read_jsonl
from deeprec.errors import RunError
from deeprec.progress import Bar
from deeprec.rivals.enhanced_trm.writer import Writer


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt and whom it is about: `about` becomes part of the row (an item or user id)."""

    prompt: str
    about: dict[str, Any]


class WrittenTexts:
    """The texts of one model in one JSON-lines file.

    Raises RunError for a file that another model wrote, or that is none of ours.
    """

    def __init__(self, file: Path, model: str) -> None:
        self.file, self.model = file, model
        self._rows: dict[str, dict[str, Any]] = {}
        for number, row in enumerate(read_jsonl(file), 1):
            if not {"key", "model", "prompt", "text", "tokens"} <= row.keys():
                raise RunError(
                    f"{file} line {number}: is no written text; delete the file to have it written anew"
                )
            if row["model"] != model:
                raise RunError(
                    f"{file} line {number}: was written by model '{row['model']}', this run's is '{model}'; move the "
                    "file away, or set rivals.enhanced_trm.model to the one that wrote it"
                )
            self._rows[row["key"]] = row

    def ask(
        self, questions: Sequence[Question], writer: Writer, cap: int, batch: int, bar: Bar | None = None
    ) -> list[dict[str, Any]]:
        """The row of each question, in order; only those that lack one are asked, `batch` at a time."""
        keys = [self._key(question.prompt, cap) for question in questions]
        missing = {
            key: question for key, question in zip(keys, questions, strict=True) if key not in self._rows
        }
        if bar is not None:
            bar.advance(len(questions) - len(missing))
        waiting = list(missing.items())
        for start in range(0, len(waiting), batch):
            some = waiting[start : start + batch]
            texts = writer.write([question.prompt for _, question in some], cap)
            for (key, question), written in zip(some, texts, strict=True):
                row = {
                    **question.about,
                    "prompt": question.prompt,
                    "text": written.text,
                    "tokens": written.tokens,
                    "model": self.model,
                    "key": key,
                }
                append_jsonl(self.file, row)
                self._rows[key] = row
            if bar is not None:
                bar.advance(len(some))
        return [self._rows[key] for key in keys]

    def _key(self, prompt: str, cap: int) -> str:
        return sha256(f"{self.model}\x1f{cap}\x1f{prompt}".encode()).hexdigest()[:16]
