from __future__ import annotations

import pytest
import torch

from deeprec.trm import softmax
from deeprec.trm.softmax import fast_dtype, imitation_backward, softmax_backward


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


def test_imitation_has_the_gradient_of_the_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deeprec.trm.softmax._LOGITS_PER_CHUNK", 20)  # several blocks
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in ((7, 4), (9, 4))]
    shown = (
        torch.randn(7, 3, dtype=torch.float64, generator=generator),
        torch.randn(9, 3, dtype=torch.float64),
    )
    ours = [tensor.clone().requires_grad_() for tensor in made]
    losses = imitation_backward(ours[0], ours[1], shown, torch.float64)
    plain = [tensor.clone().requires_grad_() for tensor in made]
    told = torch.log_softmax(shown[0] @ shown[1].T, dim=1)
    expected = (told.exp() * (told - torch.log_softmax(plain[0] @ plain[1].T, dim=1))).sum(dim=1)
    expected.mean().backward()
    assert torch.allclose(losses, expected)
    assert (losses > 0).all()
    for one, other in zip(ours, plain, strict=True):
        assert one.grad is not None
        assert torch.allclose(one.grad, other.grad)
