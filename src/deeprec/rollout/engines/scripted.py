"""An engine that recites: for tests, and for looking at a dialogue without a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deeprec.errors import EngineError
from deeprec.rollout.codec import Codec
from deeprec.rollout.engines.base import Request, Sampling, Segment
from deeprec.rollout.engines.limits import new_token_cap


class ScriptedEngine:
    """Writes each episode key's own texts, one a call, in order.

    A text is cut where real sampling would stop: after the first stop token, or
    at the cap on new tokens. What is cut off is lost. Every token gets `logprob`.
    """

    def __init__(
        self,
        codec: Codec,
        scripts: Mapping[int, Sequence[str]],
        context_length: int = 1 << 20,
        logprob: float = 0.0,
    ) -> None:
        self._codec = codec
        self._scripts = {key: list(texts) for key, texts in scripts.items()}
        self._said = dict.fromkeys(scripts, 0)
        self._context_length = context_length
        self._logprob = logprob

    @property
    def context_length(self) -> int:
        """Tokens that prompt and response may have together."""
        return self._context_length

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Segment]:
        """The next text of each request's key. Raises EngineError when a script has run out."""
        return [self._recite(request, sampling) for request in requests]

    def reseed(self, seed: int) -> None:
        """Begin every script anew; there is nothing to draw."""
        self._said = dict.fromkeys(self._scripts, 0)

    def forget(self) -> None:
        """Nothing is kept but the place in each script, which stays."""

    def _recite(self, request: Request, sampling: Sampling) -> Segment:
        cap = new_token_cap(request, sampling, self._context_length)
        texts = self._scripts.get(request.key, [])
        said = self._said.get(request.key, 0)
        if said >= len(texts):
            raise EngineError(
                f"episode {request.key}: the script has {len(texts)} texts and was asked for number {said + 1}"
            )
        self._said[request.key] = said + 1
        ids: list[int] = []
        for token in self._encode(texts[said])[:cap]:
            ids.append(token)
            if token in sampling.stop_ids:
                return self._segment(ids, stopped=True)
        return self._segment(ids, stopped=False)

    def _encode(self, text: str) -> list[int]:
        """Ids of a script. A policy may end the text, which no text can: a codec takes that for letters."""
        end = self._codec.decode([self._codec.eos_id])
        if self._codec.encode(end) == [self._codec.eos_id]:
            return self._codec.encode(text)
        said, ended, _ = text.partition(end)
        return [*self._codec.encode(said), *([self._codec.eos_id] if ended else [])]

    def _segment(self, ids: list[int], stopped: bool) -> Segment:
        return Segment(tuple(ids), (self._logprob,) * len(ids), stopped)
