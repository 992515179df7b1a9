"""What a run costs in floating-point operations, as torch counts them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, final

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from thresher.bench.objectives import Objective
from thresher.bench.tasks import Data, Task

_SAMPLES = 2  # one alone is a batch that some layers refuse to normalise


@final
@dataclass(frozen=True)
class Flops:
    """Floating-point operations of one sample: matrix products, convolutions and attention.

    Args:
        forward: of the model and the loss.
        step: forward and backward. What the optimizer does is a step's, not a sample's, and is
            left out.
    """

    forward: int
    step: int


def flops_of(task: Task, data: Data) -> Flops:
    """Return what one training sample of a task costs; counted once a model and shape.

    On the meta device: nothing is computed, and nothing drawn.
    """
    inputs, targets = task.inputs.plain_set(data).__getitems__(list(range(_SAMPLES)))
    return _counted(task.model, task.objective, _Kind.of(inputs), _Kind.of(targets))


@final
@dataclass(frozen=True)
class _Kind:
    shape: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: Tensor) -> _Kind:
        return cls(tuple(tensor.shape), tensor.dtype)

    def on_meta(self) -> Tensor:
        return torch.empty(self.shape, dtype=self.dtype, device="meta")


@cache
def _counted(model: Any, objective: Objective, inputs: _Kind, targets: _Kind) -> Flops:
    with torch.device("meta"):
        network = model.build()
    # The fused kernels of attention on a CPU are not among those that torch can count.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        loss = objective.losses(network(inputs.on_meta()), targets.on_meta()).mean()
        forward = counter.get_total_flops()
        loss.backward()
    return Flops(forward // _SAMPLES, counter.get_total_flops() // _SAMPLES)


def flops_in_record(
    each: Flops, *, trained: int, scored: int, reference: int, visits: int
) -> dict[str, float]:
    """Return a run's operations as its record has them, each kind apart.

    Args:
        each: of one sample.
        trained: samples, in visits.
        scored: samples that were only asked about: one forward each, whatever the method did.
        reference: samples that a reference model was trained on, in visits.
        visits: of the full run, which "ratio" is relative to.

    Example:
        >>> spent = flops_in_record(Flops(1, 3), trained=50, scored=30, reference=0, visits=100)
        >>> spent["total"], spent["ratio"]
        (180, 0.6)
    """
    training, scoring, model = trained * each.step, scored * each.forward, reference * each.step
    total, full = training + scoring + model, visits * each.step
    return {
        "forward": each.forward,
        "step": each.step,
        "training": training,
        "scoring": scoring,
        "reference": model,
        "total": total,
        "full": full,
        "ratio": total / full,
    }
