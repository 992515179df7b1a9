"""What the score rules keep, on data where it can be seen."""

from __future__ import annotations

import math

import pytest
import torch

from thresher.errors import SettingError
from thresher.static import (
    EL2N,
    Collected,
    DeepFool,
    Entropy,
    GraND,
    LeastConfidence,
    Margin,
    MoSo,
    PerplexityBand,
    Random,
)
from thresher.static.perturbation import squared_perturbation

# Sample 2 is a coin flip, sample 0 is certain, and right; sample 4 is certain, and wrong.
P = [[0.98, 0.01, 0.01], [0.7, 0.2, 0.1], [0.48, 0.48, 0.04], [0.4, 0.3, 0.3], [0.99, 0.01, 0.0]]
DATA = Collected(
    labels=torch.tensor([0, 0, 0, 0, 1]),
    num_classes=3,
    probabilities=torch.tensor(P),
    features=torch.tensor([[1.0], [1.0], [1.0], [9.0], [1.0]]),
)


@pytest.mark.parametrize(
    ("method", "order"),
    [
        (LeastConfidence(), [3, 2, 1, 0, 4]),
        (Entropy(), [3, 2, 1, 0, 4]),
        (Margin(), [2, 3, 1, 0, 4]),
        (EL2N(), [4, 3, 2, 1, 0]),
        (GraND(parameters="last_layer"), [3, 4, 2, 1, 0]),
    ],
    ids=lambda each: type(each).__name__,
)
def test_rule_keeps_in_this_order(method: EL2N, order: list[int]) -> None:
    assert method.select(DATA, prune_ratio=0.0)[0].tolist() == order


def test_collected_scores_come_before_what_probabilities_imply() -> None:
    data = Collected(
        labels=DATA.labels,
        num_classes=3,
        probabilities=DATA.probabilities,
        scores={"el2n": torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0])},
    )
    assert EL2N().select(data, prune_ratio=0.0)[0].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("band", "chosen"),
    [("low", {1, 3, 5}), ("medium", {0, 2, 4}), ("high", {0, 4, 6})],
)
def test_a_band_of_perplexity_is_kept(band: str, chosen: set[int]) -> None:
    loss = torch.tensor([4.0, 1.0, 3.0, 0.5, 5.0, 2.0, 90.0])
    if band == "medium":
        chosen = {0, 2, 5}
    data = Collected(scores={"loss": loss})
    ids, _ = PerplexityBand(band=band).select(data, prune_ratio=4 / 7)  # type: ignore[arg-type]
    assert set(ids.tolist()) == chosen


def test_the_medium_band_lies_around_the_median_whatever_the_share() -> None:
    loss = torch.randperm(101, generator=torch.Generator().manual_seed(0)).float()
    for kept in (1, 11, 51):
        ids, _ = PerplexityBand().select(
            Collected(scores={"loss": loss}), prune_ratio=1 - kept / 101
        )
        assert sorted(loss[ids].tolist()) == list(range(50 - kept // 2, 51 + kept // 2))


def test_random_is_uniform_over_seeds() -> None:
    data, counts = Collected(scores={"loss": torch.zeros(10)}), torch.zeros(10)
    for seed in range(600):
        counts[Random(seed=seed).select(data, prune_ratio=0.7)[0]] += 1
    # Each count is binomial(600, 0.3).
    assert bool(((counts - 180).abs() < 4.5 * math.sqrt(600 * 0.3 * 0.7)).all())


def linear(generator: torch.Generator, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(classes, 6, generator=generator), torch.randn(classes, generator=generator)


def test_the_perturbation_of_a_linear_model_is_the_distance_to_its_nearest_boundary() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, bias = linear(generator, 4)
    inputs = torch.randn(50, 2, 3, generator=generator)
    kept = inputs.clone()

    def logits(points: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        return points.flatten(1) @ weight.T + bias

    found = squared_perturbation(logits, inputs)
    values = logits(inputs, torch.arange(50))
    first = values.argmax(1)
    for i in range(50):
        k = int(first[i])
        distances = [
            float((values[i, k] - values[i, j]) / (weight[k] - weight[j]).norm())
            for j in range(4)
            if j != k
        ]
        assert float(found[i].sqrt()) == pytest.approx(min(distances), rel=1e-4)
    assert torch.equal(inputs, kept)
    assert not inputs.requires_grad


def test_the_perturbation_flips_what_a_network_predicts() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Linear(5, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3)
        ).requires_grad_(False)
    inputs = torch.randn(40, 5, generator=torch.Generator().manual_seed(1))
    seen: list[torch.Tensor] = []

    def logits(points: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        assert len(points) == len(places)
        seen.append(places)
        return model(points)

    found = squared_perturbation(logits, inputs)
    assert bool((found > 0).all())
    assert len(seen) < 50, "every sample flips before the limit"
    assert len(seen[-1]) < len(seen[0]), "those that flipped are left alone"
    limited = squared_perturbation(logits, inputs, max_iterations=1)
    assert bool((limited <= found + 1e-6).all())


def test_samples_whose_input_changes_nothing_stay_where_they_are() -> None:
    found = squared_perturbation(
        lambda points, places: torch.tensor([[1.0, 0.0]]).expand(len(points), 2) + 0 * points,
        torch.ones(3, 2),
    )
    assert found.tolist() == [0.0] * 3


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: GraND(parameters="some"),  # type: ignore[arg-type]
        lambda: MoSo(form="quick"),  # type: ignore[arg-type]
        lambda: PerplexityBand(band="wide"),  # type: ignore[arg-type]
    ],
    ids=["GraND", "MoSo", "PerplexityBand"],
)
def test_a_choice_that_does_not_exist_is_refused(attempt: object) -> None:
    with pytest.raises(SettingError):
        attempt()  # type: ignore[operator]


def test_deepfool_keeps_the_nearest_to_a_boundary() -> None:
    data = Collected(scores={"deepfool": torch.tensor([0.0, 3.0, 1.0])})
    assert DeepFool().select(data, prune_ratio=0.0)[0].tolist() == [0, 2, 1]
