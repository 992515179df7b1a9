"""KAKURENBO's code takes `softmax(logits, dim=0)`: over the batch, not over the classes.

Of a well-trained model of 10 classes, in batches of 32, a sixth of the samples then pass τ = 0.7
instead of all; and a sample's confidence depends on who shares its batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from thresher.scores import confidence, named


def well_trained(num_samples: int, num_classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits of which the right one is larger by about 10."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(num_classes, (num_samples,), generator=generator)
    logits = torch.randn(num_samples, num_classes, generator=generator)
    rise = 10 + torch.randn(num_samples, generator=generator)
    logits[torch.arange(num_samples), targets] += rise
    return logits, targets


def over_the_batch(logits: Tensor) -> Tensor:
    """The fault."""
    return logits.softmax(0).amax(1)


def passing(score: Tensor) -> float:
    return float((score >= 0.7).float().mean())


def test_the_fault_shows() -> None:
    logits, _ = well_trained(32 * 100, 10)
    published = torch.cat([over_the_batch(batch) for batch in logits.split(32)])
    assert passing(published) < 0.3


def test_confidence_is_over_the_classes() -> None:
    for num_classes in (2, 10, 100):
        logits, targets = well_trained(3200, num_classes)
        assert passing(confidence(logits)) > 0.99
        assert torch.equal(
            confidence(logits), named(("confidence",), logits, targets)["confidence"]
        )


def test_a_samples_confidence_does_not_depend_on_its_batch() -> None:
    logits, _ = well_trained(64, 10)
    whole = confidence(logits)
    for size in (1, 3, 32):
        parts = torch.cat([confidence(batch) for batch in logits.split(size)])
        assert torch.allclose(parts, whole, rtol=1e-6)
    assert not torch.allclose(over_the_batch(logits[:32]), over_the_batch(logits)[:32], rtol=0.1)
