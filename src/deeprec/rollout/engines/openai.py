"""A policy behind any server that speaks OpenAI's completions API: vLLM, llama.cpp, `transformers serve`, others.

For serving only. Where the server doesn't give back token ids, its text is tokenized again
here, and what comes out need not be what was sampled: gradients on it would be wrong, so
that training with this engine is refused (`reseed`).
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from deeprec.errors import EngineError, MissingExtraError
from deeprec.rollout.codec import Codec
from deeprec.rollout.engines.base import Request, Sampling, Segment
from deeprec.rollout.engines.limits import new_token_cap
from deeprec.rollout.tags import TAGS

if TYPE_CHECKING:
    import httpx

_TRIES = 4
_PAUSE = 0.25  # seconds before the second try; doubled for each further one
_LONGEST_PAUSE = 8.0
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_REFUSED = frozenset({400, 422})  # a field, or a kind of prompt, that the server doesn't know


@dataclass(frozen=True)
class _Dialect:
    """What a server understands beyond the smallest common part."""

    prompt_ids: bool
    extended: bool  # vLLM's fields, which others take over


# The first that isn't refused is kept.
_DIALECTS = tuple(_Dialect(ids, extended) for ids in (True, False) for extended in (True, False))


class OpenAIEngine:
    """Engine on `/v1/completions`; `base_url` ends before or with `/v1`.

    Prompts go as token ids where the server takes them, else as text. Up to `parallel`
    requests run at once. What fails for the moment is tried again, with growing pauses.
    Log-probabilities are NaN where the server gives none for its own ids. Raises
    EngineError, naming the server, when it can't be reached or its reply can't be used.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        codec: Codec,
        *,
        context_length: int,
        api_key: str | None = None,
        parallel: int = 32,
        timeout: float = 60.0,
        seed: int = 0,
    ) -> None:
        """`model` is the name by which the server knows the policy; `timeout` in seconds."""
        try:
            import httpx
        except ImportError:
            raise MissingExtraError("--engine openai", "serve") from None
        root = base_url.rstrip("/")
        self._url = f"{root if root.endswith('/v1') else f'{root}/v1'}/completions"
        self._model, self._codec, self._seed = model, codec, seed
        self._context_length = context_length
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        if not is_url(self._url):
            raise EngineError(f"{base_url}: not a URL; give one such as http://127.0.0.1:8001/v1")
        self._client = httpx.Client(
            headers=headers, timeout=timeout, limits=httpx.Limits(max_connections=parallel)
        )
        self._errors: tuple[type[Exception], ...] = (httpx.HTTPError, httpx.InvalidURL)
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="deeprec-openai")
        self._choosing = threading.Lock()
        self._dialect: _Dialect | None = None

    @property
    def context_length(self) -> int:
        """Tokens that prompt and response may have together."""
        return self._context_length

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Segment]:
        """One segment per request, in order; a request's own `max_new_tokens` caps it further."""
        caps = [new_token_cap(request, sampling, self._context_length) for request in requests]
        if len({request.key for request in requests}) < len(requests):
            raise EngineError("two requests of one call share a key; every episode needs its own")
        return list(self._pool.map(self._segment, requests, caps, [sampling] * len(requests)))

    def forget(self) -> None:
        """Nothing is kept here between calls; a server that caches prefixes does so by itself."""

    def reseed(self, seed: int) -> None:
        """Training asks for this, and must not: see the module's first lines."""
        raise EngineError(
            f"{self._url}: a policy behind a server can't be trained, as its text would be tokenized again; "
            "set engine.kind = 'local' or 'vllm'"
        )

    def close(self) -> None:
        """Give up all connections."""
        self._pool.shutdown(cancel_futures=True)
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Asking

    def _segment(self, request: Request, cap: int, sampling: Sampling) -> Segment:
        reply = self._ask(request, cap, sampling)
        try:
            choice = reply["choices"][0]
            text, is_stopped = str(choice["text"]), choice["finish_reason"] == "stop"
        except (KeyError, IndexError, TypeError) as error:
            raise EngineError(
                f"{self._url}: the reply is no completion ({type(error).__name__}: {error}); check --base-url"
            ) from None
        ids = choice.get("token_ids")
        if ids:
            return Segment(tuple(map(int, ids)), _logprobs(choice, len(ids)), is_stopped)
        stops = _stop_texts(sampling, self._codec)
        if is_stopped:
            text = closed(text, stops, choice.get("stop_reason"))
        found = self._codec.encode(text)
        self._check_tags(text, len(found), reply)
        if is_stopped and not text.endswith(stops):
            found.append(self._codec.eos_id)
        return Segment(tuple(found), (math.nan,) * len(found), is_stopped)

    def _ask(self, request: Request, cap: int, sampling: Sampling) -> dict[str, Any]:
        dialect = self._dialect
        if dialect is None:
            with self._choosing:  # one request finds out, the others wait
                dialect = self._dialect
                if dialect is None:
                    return self._choose(request, cap, sampling)
        return self._read(self._post(self._body(dialect, request, cap, sampling)))

    def _choose(self, request: Request, cap: int, sampling: Sampling) -> dict[str, Any]:
        for dialect in _DIALECTS:
            response = self._post(self._body(dialect, request, cap, sampling))
            if response.status_code not in _REFUSED:
                reply = self._read(response)
                self._dialect = dialect
                return reply
        return self._read(response)

    def _body(self, dialect: _Dialect, request: Request, cap: int, sampling: Sampling) -> dict[str, Any]:
        context = list(request.context)
        body: dict[str, Any] = {
            "model": self._model,
            "prompt": context if dialect.prompt_ids else self._codec.decode(context),
            "max_tokens": cap,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": (self._seed * 1_000_003 + request.key * 10_007 + len(context)) % 2**31,
        }
        if stops := _stop_texts(sampling, self._codec):
            body["stop"] = list(stops)  # an empty list is an error for some servers
        if dialect.extended:
            body |= {
                "add_special_tokens": False,
                "skip_special_tokens": False,
                "spaces_between_special_tokens": False,
                "include_stop_str_in_output": True,
                "stop_token_ids": sorted(sampling.stop_ids),
                "return_token_ids": True,
                "logprobs": 0,
            }
        return body

    def _post(self, body: dict[str, Any]) -> httpx.Response:
        pause, reason = _PAUSE, ""
        for attempt in range(_TRIES):
            wait = pause
            try:
                response = self._client.post(self._url, json=body)
            except self._errors as error:
                reason = f"{type(error).__name__}: {error}"
            else:
                if response.status_code not in _PASSING:
                    return response
                reason = f"status {response.status_code}: {_told(response)}"
                wait = max(pause, _seconds(response.headers.get("retry-after")))
            if attempt + 1 < _TRIES:
                time.sleep(min(wait, _LONGEST_PAUSE))
            pause *= 2
        raise EngineError(f"{self._url}: no reply in {_TRIES} tries ({reason}); check that the server runs")

    def _read(self, response: httpx.Response) -> dict[str, Any]:
        if response.status_code != 200:
            raise EngineError(
                f"{self._url}: status {response.status_code} ({_told(response)}); check --base-url, --model "
                "and the key"
            )
        try:
            reply = response.json()
        except (json.JSONDecodeError, UnicodeDecodeError):
            reply = None
        if not isinstance(reply, dict):
            raise EngineError(f"{self._url}: the reply is no JSON object; check --base-url")
        return reply

    def _check_tags(self, text: str, tokens: int, reply: dict[str, Any]) -> None:
        """Raise EngineError where the server leaves the protocol's tags out of its text."""
        usage = reply.get("usage") or {}
        written = usage.get("completion_tokens")
        if isinstance(written, int) and written - tokens >= 2 and not any(tag in text for tag in TAGS.all):
            raise EngineError(
                f"{self._url}: {written} tokens were written and {tokens} came back, without a tag: the server leaves "
                "special tokens out; have it keep them, or give it a copy of the policy whose tags are ordinary "
                "tokens (docs/howto/serve.md)"
            )


def is_url(text: str) -> bool:
    """Whether this is an address of a web server.

    >>> is_url("http://127.0.0.1:8001/v1"), is_url("127.0.0.1:8001"), is_url("http://[")
    (True, False, False)
    """
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port or an address that is none
        return False


def closed(text: str, stops: tuple[str, ...], stop_reason: object = None) -> str:
    """The text with the stop text that ended it, where the server cut that off.

    Which one it was follows from what is open; where nothing is, the text ended by itself.
    """
    if not stops or text.rstrip().endswith(stops):
        return text
    if isinstance(stop_reason, str) and stop_reason in stops:
        return text + stop_reason
    if text.rfind(TAGS.begin_preference) > text.rfind(TAGS.end_preference):
        return text + TAGS.end_preference
    if TAGS.end_list in stops and TAGS.begin_list in text:
        return text + TAGS.end_list
    if TAGS.begin_list in stops and text.rstrip().endswith(TAGS.end_think):
        return text + TAGS.begin_list
    return text


def _stop_texts(sampling: Sampling, codec: Codec) -> tuple[str, ...]:
    """All that ends a segment as text, but for the end of the text, which servers know themselves."""
    return tuple(codec.decode([token]) for token in sorted(sampling.stop_ids) if token != codec.eos_id)


def _logprobs(choice: dict[str, Any], tokens: int) -> tuple[float, ...]:
    given = (choice.get("logprobs") or {}).get("token_logprobs") or []
    if len(given) != tokens or any(value is None for value in given):
        return (math.nan,) * tokens
    return tuple(map(float, given))


def _told(response: httpx.Response) -> str:
    return " ".join(response.text.split())[:200] or "nothing more"


def _seconds(header: str | None) -> float:
    return float(header) if header and header.isdigit() else 0.0
