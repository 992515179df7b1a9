"""Shards whose scores are stored in fewer bytes choose, save and go on as one process does."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from contracts.drive import epoch_of, losses
from parallel import shard_jobs
from parallel.processes import succeed
from parallel.shard_jobs import Told
from thresher import UCB, InfoBatch, Method, Pruner

SIZE, BATCH, EPOCHS, STOPS = 61, 4, 4, [1, 11]
NARROW = torch.bfloat16
CHOOSES = UCB(prune_ratio=0.3, warmup_epochs=1)
"""By its ledger alone, once it has seen everybody."""
DRAWS = InfoBatch(r=0.6)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two ranks tell of whole runs, and of those that were saved and resumed."""
    folder = str(tmp_path_factory.mktemp("saved"))
    settings = {"score_dtype": NARROW}
    given = (SIZE, BATCH, EPOCHS, STOPS, folder, settings)
    return succeed(
        shard_jobs.all_of,
        2,
        {
            "runs": (
                shard_jobs.runs,
                ([CHOOSES], SIZE, BATCH, EPOCHS, {"settings": settings}),
            ),
            **{repr(each): (shard_jobs.resumes, (each, *given)) for each in (CHOOSES, DRAWS)},
        },
    )


def test_shards_keep_the_samples_that_one_process_keeps_by_the_same_rounded_scores(
    found: list[dict[str, Any]],
) -> None:
    table = losses(SIZE, EPOCHS)
    alone = Pruner(CHOOSES, epochs=EPOCHS, num_samples=SIZE, score_dtype=NARROW)
    told: list[list[Told]] = [each["runs"][0][0] for each in found]
    for number in range(EPOCHS):
        plan = epoch_of(alone, table, 2 * BATCH)
        kept = [id_ for rank in told for id_ in rank[number].ids]
        assert sorted(kept) == sorted(plan.ids.tolist())
    assert len(plan) < SIZE


@pytest.mark.parametrize("method", [CHOOSES, DRAWS], ids=repr)
@pytest.mark.parametrize("kind", ["own", "whole", "dcp"])
def test_a_resumed_run_trains_what_the_whole_one_does(
    method: Method, kind: str, found: list[dict[str, Any]]
) -> None:
    for each in found:
        whole, *resumed = each[repr(method)]
        for stop, (states, rests) in zip(STOPS, resumed, strict=True):
            assert rests[kind] == whole[stop:]
            assert len(rests[kind]) > 0
            columns = states["whole"]["clock"]["ledger"]["columns"]
            scores = [name for name, column in columns.items() if column.dtype == NARROW]
            assert scores == [column.name for column in method.columns() if column.is_score]
            assert all(len(columns[name]) == SIZE for name in scores)
