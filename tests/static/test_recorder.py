"""The recorder counts what the paper's definition counts."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loops import Numbers
from thresher import Full, Pruner, Subset
from thresher.static import Forgetting, TrainingRecorder

EPOCHS, SIZE, CLASSES = 6, 9, 4


def literal(correct: list[bool]) -> float:
    """Toneva et al., Algorithm 1, for one sample's presentations."""
    previous, forgotten = False, 0
    for now in correct:
        if previous and not now:
            forgotten += 1
        previous = now
    return forgotten if any(correct) else math.inf


@given(seed=st.integers(0, 10**6), batch=st.integers(1, SIZE))
def test_forgetting_is_counted_as_published(seed: int, batch: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (SIZE,), generator=generator)
    recorder = TrainingRecorder(SIZE)
    seen: list[list[bool]] = [[] for _ in range(SIZE)]
    losses: list[list[float]] = [[] for _ in range(SIZE)]
    for epoch in range(EPOCHS):
        order = torch.randperm(SIZE, generator=generator)
        for number, ids in enumerate(order.split(batch)):
            if epoch and number == 1:
                continue  # not presented, as after an early stop
            logits = torch.randn(len(ids), CLASSES, generator=generator)
            recorder.observe(ids.numpy() if epoch % 2 else ids, logits, labels[ids])
            loss = torch.nn.functional.cross_entropy(logits, labels[ids], reduction="none")
            for place, i in enumerate(ids.tolist()):
                seen[i].append(int(logits[place].argmax()) == int(labels[i]))
                losses[i].append(float(loss[place]))
        if epoch == 2:
            state = recorder.state_dict()
            recorder = TrainingRecorder(SIZE)
            recorder.load_state_dict(state)
    data = recorder.collected()
    assert data.scores["forgetting"].tolist() == [literal(each) for each in seen]
    for i in range(SIZE):
        mean = sum(losses[i]) / len(losses[i])
        assert float(data.scores["loss"][i]) == pytest.approx(mean, rel=1e-5)
    assert data.labels is not None
    assert torch.equal(data.labels, labels)
    assert data.num_classes == CLASSES


def test_who_was_never_presented_counts_as_never_learned() -> None:
    recorder = TrainingRecorder(3)
    recorder.observe([1], torch.tensor([[1.0, 0.0]]).bfloat16(), torch.tensor([0]))
    data = recorder.collected()
    assert data.labels is None
    assert data.scores["forgetting"].tolist() == [math.inf, 0.0, math.inf]
    assert data.scores["el2n"].isnan().tolist() == [True, False, True]
    ids, _ = Forgetting().select(data, prune_ratio=0.0)
    assert ids.tolist() == [0, 2, 1]


def test_a_run_is_recorded_and_its_subset_trained() -> None:
    """The loop of the README: record a run on everything, choose, train on the choice."""
    labels = torch.arange(12) % 2
    recorder, pruner = TrainingRecorder(12), Pruner(Full(), epochs=4)
    loader = pruner.wrap(torch.utils.data.DataLoader(Numbers(12), 5, shuffle=True))
    for epoch in range(4):
        for numbers in loader:
            wrong = (numbers < 3) & (epoch % 2 == 1)
            logits = torch.nn.functional.one_hot(labels[numbers] ^ wrong.long(), 2).float()
            recorder.observe(loader.batch_ids, logits, labels[numbers])
            pruner.reduce(logits.sum(1))
    ids, weights = Forgetting().select(recorder.collected(), prune_ratio=0.75)
    assert ids.tolist() == [0, 1, 2]
    assert sorted(Pruner(Subset(ids, weights), epochs=3, num_samples=12).plan(0).ids.tolist()) == [
        0,
        1,
        2,
    ]
