"""Where a method wants several scores, a batch's are written together: what is kept is the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from thresher.plan import Plan
from thresher.planned import PlannedProgress

NAMES = ("loss", "correct", "confidence")
N = 11


def progress() -> PlannedProgress:
    ids = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    plan = Plan(epoch=0, ids=ids, weights=torch.ones(N), num_samples=N)
    return PlannedProgress(plan, NAMES, 1)


def scores(start: int, stop: int) -> dict[str, Tensor]:
    base = torch.arange(start, stop, dtype=torch.float32)
    return {"loss": base, "correct": base + 100, "confidence": base / 7}


def assert_holds(given: PlannedProgress, stop: int = N) -> None:
    for name, score in scores(0, N).items():
        seen = given.trace().scores[name]
        assert torch.equal(seen[:stop], score[:stop])
        assert bool(seen[stop:].isnan().all())


@pytest.mark.parametrize("size", [1, 3, 4, N])
def test_each_score_of_each_batch_is_where_its_sample_is(size: int) -> None:
    trained = progress()
    for start in range(0, N, size):
        place = slice(start, min(start + size, N))
        trained.record(place, scores(place.start, place.stop))
        assert_holds(trained, place.stop)


def changed(kind: str) -> dict[str, Tensor]:
    given = scores(3, 6)
    if kind == "has a graph":
        given["loss"] = given["loss"].clone().requires_grad_() * 1.0
    if kind == "is a float64":
        given["confidence"] = given["confidence"].double()
    if kind == "is a bfloat16":
        given["correct"] = given["correct"].bfloat16()
    if kind == "is a bool":
        given["correct"] = torch.tensor([True, False, True])
    if kind == "is a view with a stride":
        given["loss"] = torch.stack([given["loss"], -given["loss"]], dim=1)[:, 0]
    if kind == "comes with others":
        given["other"] = torch.zeros(7)
    return given


@pytest.mark.parametrize(
    "kind",
    [
        "has a graph",
        "is a float64",
        "is a bfloat16",
        "is a bool",
        "is a view with a stride",
        "comes with others",
    ],
)
def test_a_score_may_be_of_any_kind(kind: str) -> None:
    trained, given = progress(), changed(kind)
    trained.record(slice(0, 3), scores(0, 3))
    trained.record(slice(3, 6), given)
    trained.record(slice(6, 9), scores(6, 9))
    for name, before in scores(0, 3).items():
        seen = trained.trace().scores[name]
        assert not seen.requires_grad
        assert torch.equal(seen[:3], before)
        assert torch.equal(seen[3:6], given[name].detach().float())
        assert torch.equal(seen[6:9], scores(6, 9)[name])


def test_what_is_kept_is_a_copy() -> None:
    trained, given = progress(), scores(0, 3)
    trained.record(slice(0, 3), given)
    for score in given.values():
        score.fill_(-1.0)
    assert_holds(trained, 3)


def test_batches_out_of_order_and_a_resumed_epoch_go_on_with_the_same_table() -> None:
    trained = progress()
    trained.record(slice(0, 4), scores(0, 4))
    again = progress()
    again.load_state_dict(trained.state_dict())
    for each in (trained, again):
        where = torch.tensor([10, 8, 9, 7]).numpy()
        values = {name: score[[3, 1, 2, 0]] for name, score in scores(7, 11).items()}
        each.record(where, values)
        each.record(slice(4, 7), scores(4, 7))
        assert_holds(each)


def test_scores_that_are_not_all_on_one_device_are_kept_apart() -> None:
    trained, given = progress(), scores(0, 3)
    trained.record(slice(0, 3), given)
    given = scores(3, 6)
    given["correct"] = given["correct"].to("meta")
    trained.record(slice(3, 6), given)
    trained.record(slice(6, N), {**scores(6, N), "correct": torch.empty(5, device="meta")})
    loss = trained._scores["loss"]  # pyright: ignore[reportPrivateUsage]
    assert torch.equal(loss, scores(0, N)["loss"])
    assert trained._scores["correct"].is_meta  # pyright: ignore[reportPrivateUsage]
