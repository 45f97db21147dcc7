from __future__ import annotations

import pytest
import torch

from deeprec.trm import softmax
from deeprec.trm.softmax import fast_dtype, softmax_backward


def _tensors(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(23, 16, generator=generator, dtype=dtype)
    items = torch.randn(17, 16, generator=generator, dtype=dtype)
    return queries, items, torch.randint(0, 17, (23,), generator=generator)


def test_gradient_is_that_of_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax, "_LOGITS_PER_CHUNK", 100)  # several blocks
    queries, items, wanted = _tensors(torch.float64)
    ours, theirs = ([x.clone().requires_grad_() for x in (queries, items)] for _ in range(2))
    expected = torch.nn.functional.cross_entropy(theirs[0] @ theirs[1].T, wanted, reduction="none")
    expected.mean().backward()
    losses = softmax_backward(ours[0], ours[1], wanted, torch.float64)
    torch.testing.assert_close(losses, expected.detach())
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


def test_bfloat16_blocks_stay_close() -> None:
    queries, items, wanted = _tensors(torch.float32)
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        q, e = queries.clone().requires_grad_(), items.clone().requires_grad_()
        found.append((softmax_backward(q, e, wanted, dtype), q.grad, e.grad))
    for exact, fast in zip(*found, strict=True):
        assert torch.linalg.norm(exact - fast) < 0.02 * torch.linalg.norm(exact)


def test_large_logits_do_not_overflow() -> None:
    queries, items, wanted = _tensors(torch.float32)
    queries = (1000 * queries).requires_grad_()
    assert softmax_backward(queries, items.requires_grad_(), wanted, torch.float32).isfinite().all()


def test_fast_dtype_is_one_of_two() -> None:
    assert fast_dtype(torch.device("cpu")) in {torch.float32, torch.bfloat16}
