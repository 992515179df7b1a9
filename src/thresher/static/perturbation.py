"""DeepFool: how far a sample is from the nearest decision boundary, in input space."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_OVERSHOOT = 0.02


def squared_perturbation(
    logits: Callable[[Tensor, Tensor], Tensor],
    inputs: Tensor,
    *,
    num_classes: int = 10,
    max_iterations: int = 50,
) -> Tensor:
    """Return ‖r_i‖² of the perturbation r_i that changes what a model predicts for sample i.

    Until the prediction k₀ changes, the input moves to the nearest boundary of the classifier
    linearised there: r ← r + |f|/‖w‖²·w for the class k with the least |f|/‖w‖, where
    f = z_k − z_k₀ and w = ∇f. The logits are then taken at x + 1.02·r.

    Args:
        logits: from inputs, shape (m, ...), and their places in the batch, int64, shape (m,), to
            logits (m, c), each sample's from its own input.
        inputs: x, floating point, shape (B, ...); not changed, nor is their `requires_grad`.
        num_classes: of the c classes, the likeliest that are looked at.
        max_iterations: after which r is returned as far as it came.

    Returns:
        float32, shape (B,).

    Cost: up to `max_iterations` forward passes, each with `num_classes` backward passes, over the
        samples whose prediction still holds.
    """
    start = inputs.detach()
    moved = torch.zeros_like(start, dtype=torch.float32)
    left = torch.arange(len(start), device=start.device)
    predicted = others = left  # set in the first round
    for step in range(max_iterations):
        # New each time, so that no leaf that wants a gradient is ever written to.
        point = (start[left] + (1 + _OVERSHOOT) * moved[left].to(start.dtype)).requires_grad_()
        with torch.enable_grad():
            # The model may be on another device than the batch.
            outputs = logits(point, left).to(start.device)
            if step == 0:
                likeliest = outputs.detach().topk(min(num_classes, outputs.shape[1]), dim=1)
                predicted, others = likeliest.indices[:, 0], likeliest.indices[:, 1:]
            holds = outputs.detach().argmax(1) == predicted
            if not others.shape[1] or not bool(holds.any()):
                break
            gaps = outputs.gather(1, others) - outputs.gather(1, predicted[:, None])
            # One column at a time, so that a single gradient of each is held.
            nearest = torch.full((len(left),), torch.inf, device=start.device)
            step_taken = torch.zeros_like(moved[left])
            for column in range(gaps.shape[1]):
                last = column == gaps.shape[1] - 1
                (w,) = torch.autograd.grad(gaps[:, column].sum(), point, retain_graph=not last)
                flat = w.detach().float().flatten(1)
                size = flat.norm(dim=1).clamp_min(1e-12)
                distance = gaps[:, column].detach().float().abs() / size
                closer = distance < nearest
                nearest = torch.where(closer, distance, nearest)
                taken = flat * (distance / size)[:, None]
                step_taken[closer] = taken.view_as(step_taken)[closer]
        moved[left[holds]] += step_taken[holds]
        left, predicted, others = left[holds], predicted[holds], others[holds]
    return moved.flatten(1).square().sum(1)
