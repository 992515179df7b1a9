"""`collect` reads every sample once, in order, and says what the model says of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, TensorDataset

from static.small_network import EVERYTHING, SIZE, network, outputs, samples
from thresher import scores
from thresher.static import Collected, collect

LOADERS: dict[str, dict[str, Any]] = {
    "plain": {"batch_size": 8},
    "shuffled": {"batch_size": 8, "shuffle": True},
    "dropping the last batch": {"batch_size": 8, "shuffle": True, "drop_last": True},
    "one by one": {"batch_size": 1},
    "all at once": {"batch_size": 100},
    "workers": {"batch_size": 5, "num_workers": 1, "persistent_workers": True, "shuffle": True},
    "own batch sampler": {"batch_sampler": BatchSampler(RandomSampler(range(SIZE)), 7, True)},
}


@pytest.mark.parametrize("settings", LOADERS.values(), ids=LOADERS.keys())
@pytest.mark.usefixtures("unchanged_global_rng")
def test_every_sample_is_read_once_and_filed_by_its_id(settings: dict[str, Any]) -> None:
    model, loader = network(), DataLoader(samples(), **settings)
    data = collect(model, loader)
    features, logits, labels = outputs(model)
    assert data.num_classes == 3
    assert data.labels is not None
    assert data.features is not None
    assert data.probabilities is not None
    assert torch.equal(data.labels, labels)
    assert torch.allclose(data.features, features, atol=1e-6)
    assert torch.allclose(data.probabilities, logits.softmax(1), atol=1e-6)
    loss = F.cross_entropy(logits, labels, reduction="none")
    assert torch.allclose(data.scores["loss"], loss, atol=1e-5)
    assert torch.allclose(data.scores["el2n"], scores.logit_grad_norm(logits, labels), atol=1e-5)


def test_bulk_samplers_and_loaders_without_batching_are_read_too() -> None:
    class Bulk(Dataset[Any]):
        def __len__(self) -> int:
            return SIZE

        def __getitem__(self, index: Any) -> Any:
            inputs, labels = samples().tensors
            places = torch.as_tensor(index).reshape(-1)
            return inputs[places], labels[places]

    bulk: Any = BatchSampler(RandomSampler(range(SIZE)), 6, drop_last=True)
    expected = collect(network(), DataLoader(samples(), 8))
    for loader in (
        DataLoader(Bulk(), batch_size=None, sampler=bulk),
        DataLoader(Bulk(), batch_size=None),
    ):
        data = collect(network(), loader)
        assert torch.allclose(data.scores["loss"], expected.scores["loss"], atol=1e-5)


@pytest.mark.parametrize("name", ["loss", "el2n", "grand_last_layer", "moso", "moso_exact"])
def test_what_is_collected_is_what_the_fields_imply(name: str) -> None:
    loader = DataLoader(samples(), 8)
    fields = collect(network(), loader, needs=("features", "probabilities"))
    assert not fields.scores
    collected = collect(network(), loader, needs=(name,))
    assert collected.features is None
    assert collected.probabilities is None
    assert torch.allclose(collected.scores[name], fields.signal(name), atol=1e-5, rtol=1e-4)


def test_scores_are_averaged_over_models_by_their_weights() -> None:
    loader, models = DataLoader(samples(), 8), [network(0), network(1)]
    names = ("loss", "el2n", "moso", "grand", "features")
    each = [collect(model, loader, needs=names) for model in models]
    for weights, shares in ((None, (0.5, 0.5)), ((3.0, 1.0), (0.75, 0.25))):
        both = collect(models, loader, needs=names, weights=weights)
        for name in both.scores:
            mean = sum(share * one.scores[name] for share, one in zip(shares, each, strict=True))
            assert torch.allclose(both.scores[name], mean, atol=1e-6), name
        assert both.features is not None
        assert each[1].features is not None
        assert torch.equal(both.features, each[1].features)


def test_a_batch_of_any_structure_is_read_through_a_function() -> None:
    class Named(Dataset[Any]):
        def __len__(self) -> int:
            return SIZE

        def __getitem__(self, index: int) -> Any:
            x, y = samples()[index]
            return {"inputs": {"x": x}, "y": y, "name": f"sample {index}"}

    def forward(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        return model(batch["inputs"]["x"]), batch["y"]

    expected = collect(network(), DataLoader(samples(), 8), needs=EVERYTHING)
    data = collect(network(), DataLoader(Named(), 8), fn=forward, needs=EVERYTHING)
    for name in EVERYTHING[2:]:
        assert torch.allclose(data.scores[name], expected.scores[name], atol=1e-5), name


def test_unlabelled_data_have_no_labels_and_no_losses() -> None:
    data = collect(
        network(), DataLoader(samples(), 8), fn=lambda model, batch: (model(batch[0]), None)
    )
    assert data.labels is None
    assert not data.scores
    assert data.has("entropy")


def test_sequences_have_the_mean_loss_of_their_tokens() -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(11, (9, 6), generator=generator)
    targets = tokens.roll(-1, 1).clone()
    targets[:, -1] = -100
    targets[3, 2:] = -100
    with torch.random.fork_rng():
        model = nn.Sequential(nn.Embedding(11, 5), nn.Linear(5, 11))
    data = collect(model, DataLoader(TensorDataset(tokens, targets), 4, shuffle=True))
    assert sorted(data.scores) == ["el2n", "loss"]
    assert data.features is None
    for i in range(9):
        kept = targets[i] != -100
        expected = F.cross_entropy(model(tokens[i])[kept], targets[i][kept]).detach()
        assert float(data.scores["loss"][i]) == pytest.approx(float(expected), rel=1e-5)


def test_half_precision_is_widened() -> None:
    model = network().bfloat16()

    def forward(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        return model(batch[0].bfloat16()), batch[1]

    data = collect(model, DataLoader(samples(), 8), fn=forward)
    exact = collect(network(), DataLoader(samples(), 8))
    assert data.features is not None
    assert data.features.dtype == torch.float32
    assert data.probabilities is not None
    assert exact.probabilities is not None
    assert torch.allclose(data.probabilities.sum(1), torch.ones(SIZE), atol=1e-6)
    # Rounded by the model alone: what is made of its logits is made in float32.
    own = Collected(labels=data.labels, num_classes=3, probabilities=data.probabilities)
    assert torch.allclose(data.scores["loss"], own.signal("loss"), atol=1e-5)
    # bfloat16 has 8 bits; the logits are of order 1.
    assert torch.allclose(data.probabilities, exact.probabilities, atol=0.05)


def test_progress_counts_samples_over_all_models() -> None:
    told: list[tuple[int, int]] = []
    loader = DataLoader(samples(), 20)
    collect([network(), network()], loader, progress=lambda done, all_: told.append((done, all_)))
    assert told == [(20, 74), (37, 74), (57, 74), (74, 74)]


def test_features_are_of_the_head_that_is_named() -> None:
    model = nn.Sequential(nn.Conv2d(1, 5, 2), nn.AdaptiveAvgPool2d(1), nn.Conv2d(5, 3, 1))
    model.append(nn.Flatten())
    images = torch.randn(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    data_set = TensorDataset(images, torch.zeros(6, dtype=torch.int64))
    assert collect(model, DataLoader(data_set, 4)).features is None
    flat = nn.Sequential(model, nn.Identity())
    data = collect(nn.Sequential(model[:3], model[3]), DataLoader(data_set, 4))
    assert data.features is None, "the flattened logits are no head of theirs"
    data = collect(flat, DataLoader(data_set, 4), head="1")
    assert data.features is not None
    assert torch.allclose(data.features, flat[0](images), atol=1e-6)


def test_a_linear_layer_that_is_not_the_last_gives_no_features() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Unflatten(1, (6, 1)), nn.Conv1d(6, 3, 1))
    model.append(nn.Flatten())
    data = collect(model, DataLoader(samples(), 8))
    assert data.features is None
    assert sorted(data.scores) == ["el2n", "loss"]
