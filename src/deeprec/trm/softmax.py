"""Cross-entropy over the whole catalogue, with its gradient written out."""

from __future__ import annotations

import torch
from torch import Tensor

_LOGITS_PER_CHUNK = 1_000_000  # numbers in one block of logits on a CPU: a few MB, which stay in the cache
_LOGITS_PER_CHUNK_GPU = 100_000_000


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the processor multiplies it natively (there it is 3 to 4 times as fast), else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    able = torch.cpu.get_capabilities()
    return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else torch.float32


def rows_at_once(columns: int, device: torch.device) -> int:
    """Rows of a table of logits (N, `columns`) that one pass shall take: on a CPU as many as stay in its cache."""
    most = _LOGITS_PER_CHUNK if device.type == "cpu" else _LOGITS_PER_CHUNK_GPU
    return max(1, most // max(1, columns))


def softmax_backward(queries: Tensor, items: Tensor, wanted: Tensor, dtype: torch.dtype) -> Tensor:
    """Back-propagate the mean cross-entropy over all items; return that of each row (N,).

    `queries` (N, D) times `items` (I, D) are the logits z, `wanted` (N,) rows of `items`: the loss is
    log sum exp z - z(wanted), its gradient by z is d = softmax(z) - one-hot(wanted), by queries d E / N and by items
    d^T Q / N; written out it costs half of autograd's on a CPU, and
    the logits (N, I) are made in blocks, so that a large catalogue costs time, not memory.
    Whichever of the two asks for no gradient gets none.
    `dtype` is that of the blocks; sums and gradients are float32 or wider.
    """
    with torch.no_grad():
        wide = queries.dtype
        q, e = queries.detach(), items.detach()
        fast_q, fast_e = q.to(dtype), e.to(dtype)
        q_grad, e_grad = torch.empty_like(q), torch.zeros_like(e)
        losses = torch.empty(len(q), dtype=wide, device=q.device)
        step = rows_at_once(len(e), q.device)
        for start in range(0, len(q), step):
            rows = slice(start, start + step)
            # The largest logit is taken off first: its exponential alone would overflow.
            part = fast_q[rows] @ fast_e.T  # (n, I) logits, then their exponentials, in place
            top = part.amax(dim=1, keepdim=True)
            logit = part.gather(1, wanted[rows, None])
            total = part.sub_(top).exp_().sum(dim=1, keepdim=True, dtype=wide)
            losses[rows] = (total.log() + top - logit)[:, 0]
            q_grad[rows] = (part @ fast_e) / total - e[wanted[rows]]
            if items.requires_grad:
                e_grad += part.T @ (q[rows] / total).to(dtype)
        e_grad.index_add_(0, wanted, q, alpha=-1)
    pairs = [(queries, q_grad / len(q)), (items, e_grad / len(q))]
    asking = [(tensor, gradient) for tensor, gradient in pairs if tensor.requires_grad]
    torch.autograd.backward([tensor for tensor, _ in asking], [gradient for _, gradient in asking])
    return losses


def imitation_backward(
    queries: Tensor, items: Tensor, shown: tuple[Tensor, Tensor], dtype: torch.dtype
) -> Tensor:
    """Back-propagate the mean divergence KL(teacher || own) over all items; return that of each row (N,) in nats.

    `queries` (N, D) and `items` (I, D) as for `softmax_backward`; `shown` are the teacher's, of whatever width, and get
    no gradient, which is softmax minus the teacher's softmax here.
    """
    with torch.no_grad():
        wide = queries.dtype
        q, e = queries.detach(), items.detach()
        fast_q, fast_e, fast_shown, fast_known = (part.to(dtype) for part in (q, e, *shown))
        q_grad, e_grad = torch.empty_like(q), torch.zeros_like(e)
        losses = torch.empty(len(q), dtype=wide, device=q.device)
        step = rows_at_once(len(e), q.device)
        for start in range(0, len(q), step):
            rows = slice(start, start + step)
            own = (fast_q[rows] @ fast_e.T).to(wide).log_softmax(dim=1)
            told = (fast_shown[rows] @ fast_known.T).to(wide).log_softmax(dim=1)
            losses[rows] = (told.exp() * (told - own)).sum(dim=1)
            excess = (own.exp_() - told.exp()).to(dtype)
            q_grad[rows] = (excess @ fast_e).to(wide)
            e_grad += (excess.T @ fast_q[rows]).to(wide)
    torch.autograd.backward([queries, items], [q_grad / len(q), e_grad / len(q)])
    return losses
