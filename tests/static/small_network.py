"""A small network, its data, and what it says of them at once."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

SIZE = 37
EVERYTHING = (
    "features",
    "probabilities",
    "loss",
    "el2n",
    "grand",
    "grand_last_layer",
    "least_confidence",
    "entropy",
    "margin",
    "deepfool",
    "moso",
    "moso_exact",
)


def network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3)
        )


def samples() -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(SIZE, 4, generator=generator)
    return TensorDataset(inputs, torch.randint(3, (SIZE,), generator=generator))


def outputs(model: nn.Sequential) -> tuple[Tensor, Tensor, Tensor]:
    """Features, logits and labels of all samples at once."""
    inputs, labels = samples().tensors
    model = copy.deepcopy(model).eval()
    with torch.no_grad():
        features = model[:-1](inputs)
        return features, model[-1](features), labels
