"""Whether the policy's context holds what a stage will show it, checked before the first iteration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeprec.errors import PolicyError
from deeprec.policy.context import longer_context
from deeprec.rollout.protocol import render_items, render_prompt, render_ranking

if TYPE_CHECKING:
    from deeprec.config import PolicyConfig
    from deeprec.rl.sampling import Sampler


def check_context(sampler: Sampler, policy: PolicyConfig) -> None:
    """Raise PolicyError when training is certain to fail for want of context; `policy` is whose it is.

    That is when the prompt of any example fills it, or when not even the shortest prompt
    leaves room for the shortest list that the TRM could give, and for the shortest final list.
    """
    environment, config = sampler.environment, sampler.environment.config
    codec, catalog = environment.codec, environment.dataset.catalog
    context = environment.engine.context_length
    lengths = [
        len(codec.encode_prompt(render_prompt(example, catalog, config), chat=config.chats))
        for example in sampler.examples
    ]
    longest, shortest = max(lengths), min(lengths)
    if longest >= context:
        user = sampler.examples[lengths.index(longest)].user_id
        raise PolicyError(
            f"user '{user}': the prompt has {longest} tokens, and the policy reads {context} at most; lower "
            f"rollout.history, show fewer rollout.prompt_fields, or {longer_context(policy)}"
        )
    shown = sorted(range(1, catalog.n_items + 1), key=lambda item: len(catalog[item].label))
    items = codec.encode(render_items(shown[: config.retrieved], catalog, config.list_fields))
    final = codec.encode(render_ranking(shown[: config.recommended], catalog))
    room = min(config.response_tokens, context - shortest)
    if len(items) + len(final) > room:
        raise PolicyError(
            f"stage '{sampler.stage}': a list of {config.retrieved} items and the final one of {config.recommended} "
            f"have {len(items) + len(final)} tokens or more, and behind the shortest prompt ({shortest} tokens) there "
            f"is room for {room} (context {context}, rollout.response_tokens {config.response_tokens}); lower "
            f"rollout.retrieved or rollout.history, raise rollout.response_tokens, or {longer_context(policy)}"
        )
