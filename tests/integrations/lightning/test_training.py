"""Lightning trains the planned samples with their weights, in one process and in two."""

from __future__ import annotations

import subprocess
import sys
from itertools import accumulate
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from integrations import by_hand
from integrations.by_hand import BATCH, EPOCHS, Trained, designed, require_same
from integrations.lightning.runs import Classifier, fit, on_rank, quietly, saved
from parallel.processes import preload, succeed
from thresher import Full, Pruner, RandomPruning
from thresher.online import SelectiveBackprop
from thresher.scores import scoring

preload("lightning")

BY_BATCH = {"every_n_train_steps": 1}
AFTER_VALIDATION = {"every_n_epochs": 1, "save_on_train_epoch_end": False}
AT_EPOCHS_END = {"every_n_epochs": 1, "save_on_train_epoch_end": True}


def fits(size: int, accumulation: int = 1, **options: Any) -> list[Trained]:
    """The ranks of a run."""
    if size == 1:
        return [fit(accumulation, **options)]
    return succeed(on_rank, size, accumulation, options)


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("size", [1, 2])
def test_it_trains_what_a_hand_written_loop_does(size: int, accumulation: int) -> None:
    whole = by_hand.by_hand(BATCH * size, accumulation)
    assert whole.planned[0] == whole.planned[-1] == by_hand.SIZE
    assert max(whole.planned[1:-1]) < 30, "epochs shrink, and grow again"
    rates = designed(BATCH * size, accumulation)
    require_same(fits(size, accumulation), whole, rates=rates, exact=size == 1)


def require_continued(late: Trained, whole: Trained) -> None:
    """Compare a resumed run with the uninterrupted one."""
    ours = [batch for batches in late.batches.values() for batch in batches]
    theirs = [batch for batches in whole.batches.values() for batch in batches]
    assert ours == theirs[len(theirs) - len(ours) :]
    assert late.planned == whole.planned
    assert late.rates == whole.rates[EPOCHS - len(late.rates) :]
    assert torch.equal(late.weights, whole.weights)


def ends(run: Trained) -> list[int]:
    """How many batches were trained when each epoch ended."""
    return list(accumulate(len(batches) for batches in run.batches.values()))


@pytest.mark.parametrize("size", [1, 2])
def test_a_run_stopped_anywhere_continues_with_the_very_next_batch(
    size: int, tmp_path: Path
) -> None:
    folder = str(tmp_path)
    whole = fits(size, folder=folder, saves=BY_BATCH)
    last = ends(whole[0])
    paths = dict(enumerate(saved(folder), 1))
    # In the middle of an epoch; after the last batch before a longer one; after the first of it.
    steps = [last[1] + 2, last[3], last[3] + 1] if size == 1 else [last[1] + 2, last[3]]
    for step in steps:
        late = fits(size, resumed=paths[step])
        assert sum(map(len, late[0].batches.values())) == last[-1] - step
        for ours, theirs in zip(late, whole, strict=True):
            require_continued(ours, theirs)


def test_ledgers_in_shards_are_planned_saved_and_continued_too(tmp_path: Path) -> None:
    folder = str(tmp_path)
    whole = fits(2, folder=folder, saves=BY_BATCH, shard=True)
    for epoch, planned in enumerate(whole[0].planned):
        ids = by_hand.ids_of(whole, epoch)
        assert len(set(ids)) == planned
    assert whole[0].rates == designed(2 * BATCH, 1)
    late = fits(2, resumed=saved(folder)[ends(whole[0])[1] + 1], shard=True)
    for ours, theirs in zip(late, whole, strict=True):
        require_continued(ours, theirs)


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("saves", [AFTER_VALIDATION, AT_EPOCHS_END], ids=["validation", "end"])
def test_a_run_saved_between_epochs_continues_with_the_next_one(
    accumulation: int, saves: dict[str, Any], tmp_path: Path
) -> None:
    options: dict[str, Any] = {"validates": True}
    whole = fit(accumulation, folder=str(tmp_path), saves=saves, **options)
    assert len(saved(tmp_path)) == EPOCHS
    for epoch, path in enumerate(saved(tmp_path)[:-1]):
        late = fit(accumulation, resumed=path, **options)
        assert min(late.batches) == epoch + 1
        require_continued(late, whole)


def test_a_run_saved_by_validation_within_an_epoch_continues_there(tmp_path: Path) -> None:
    options: dict[str, Any] = {"validates": True, "val_check_interval": 0.5}
    whole = fit(folder=str(tmp_path), saves=AFTER_VALIDATION, **options)
    paths = saved(tmp_path)
    assert len(paths) > EPOCHS
    for path in paths[2:6]:
        require_continued(fit(resumed=path, **options), whole)


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_fetch_ahead_and_every_loss_is_its_samples(persistent: bool) -> None:
    loader: DataLoader[Any] = DataLoader(
        by_hand.data(), BATCH, shuffle=True, num_workers=1, persistent_workers=persistent
    )
    whole = by_hand.by_hand()
    require_same([fit(loader=loader)], whole, rates=designed(BATCH, 1), exact=True)


def test_the_module_trains_as_ever_without_the_callback() -> None:
    whole = fit(method=Full())
    quietly()
    module = Classifier()
    trainer = L.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    ids = [[id_ for batch in epoch for id_ in batch] for epoch in whole.batches.values()]

    class Given(L.LightningDataModule):
        def train_dataloader(self) -> Any:
            return DataLoader(by_hand.data(), BATCH, sampler=ids[trainer.current_epoch])

    trainer.reload_dataloaders_every_n_epochs = 1
    trainer.fit(module, datamodule=Given())
    weights = torch.cat([p.detach().reshape(-1) for p in module.net.parameters()])
    assert torch.equal(weights, whole.weights), "Full with the callback is the plain run"
    assert module.rates == whole.rates


class Hooks(L.LightningDataModule):
    """Counts how often it is asked for a loader."""

    asked = 0

    def train_dataloader(self) -> Any:
        self.asked += 1
        return DataLoader(by_hand.data(), BATCH, shuffle=True)


def test_a_data_modules_loader_is_planned_too_and_reloaded_never() -> None:
    hooks, whole = Hooks(), by_hand.by_hand()
    require_same([fit(loader=hooks)], whole, rates=designed(BATCH, 1), exact=True)
    assert hooks.asked == 2, "once for estimated_stepping_batches, once for training"


def test_an_epoch_that_is_left_early_does_not_shorten_the_next() -> None:
    module = Classifier(leaves_epoch=1)
    run = fit(module=module, method=RandomPruning(prune_ratio=0.3))
    lengths = [len(batches) for batches in run.batches.values()]
    assert lengths[1] == 2
    assert run.planned[-1] > run.planned[1] > 2 * BATCH, "the next one is planned"
    assert [-(-planned // BATCH) for planned in run.planned] == module.lengths
    assert lengths[2:] == module.lengths[2:]


def test_an_online_method_chooses_with_the_module_as_it_is() -> None:
    module = Classifier()

    def score(net: Any, batch: Any) -> torch.Tensor:
        return by_hand.losses_of(net, batch[1], batch[2])

    method = SelectiveBackprop(prune_ratio=0.5)
    run = fit(method=method, module=module, pruning={"score_fn": scoring(module.net, score)})
    assert [len(batches) for batches in run.batches.values()] == module.lengths
    assert sum(module.lengths) < 0.7 * EPOCHS * -(-by_hand.SIZE // BATCH)
    assert run.rates == designed(BATCH, 1)


class Manual(Classifier):
    """Steps by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        optimizer: Any = self.optimizers()
        scheduler: Any = self.lr_schedulers()
        self.manual_backward(super().training_step(batch, batch_idx))
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()


def test_a_module_that_steps_by_itself_gets_the_paced_scheduler() -> None:
    whole = by_hand.by_hand()
    require_same([fit(module=Manual())], whole, rates=designed(BATCH, 1), exact=True)


def test_a_budget_of_steps_is_kept() -> None:
    pruner = Pruner(RandomPruning(prune_ratio=0.3), steps=30)
    module = Classifier()
    run = fit(pruner=pruner, module=module, max_epochs=-1, max_steps=30)
    assert pruner.finished
    assert sum(len(batches) for batches in run.batches.values()) == 30
    assert run.rates[-1] == 0, "after as many steps as the scheduler was built for"


def test_lightnings_seeding_of_workers_reaches_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_SEED_WORKERS", "1")
    loader: DataLoader[Any] = DataLoader(by_hand.data(), BATCH, num_workers=1)
    inner: list[Any] = []

    class Look(L.Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            inner.append(trainer.train_dataloader._thresher.inner)

    fit(loader=loader, callbacks=[Look()])
    assert inner[0].worker_init_fn is not None


_OTHER_NAME = """
import logging, sys, warnings
warnings.simplefilter("ignore")
import pytorch_lightning as L
import torch
from torch.utils.data import DataLoader
from integrations import by_hand
from thresher.integrations.lightning import DataPruning, reduce

class Classifier(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = by_hand.network()
    def training_step(self, batch, batch_idx):
        return reduce(self, by_hand.losses_of(self.net, *batch[1:]))
    def configure_optimizers(self):
        optimizer, schedule = by_hand.optimizer_of(self, self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

module, pruner = Classifier(), by_hand.pruner_of()
trainer = L.Trainer(max_epochs=by_hand.EPOCHS, callbacks=[DataPruning(pruner)], logger=False,
                    accelerator="cpu", enable_checkpointing=False, enable_progress_bar=False)
trainer.fit(module, DataLoader(by_hand.data(), by_hand.BATCH, shuffle=True))
whole = by_hand.by_hand()
ours = torch.cat([p.detach().reshape(-1) for p in module.net.parameters()])
assert torch.equal(ours, whole.weights)
assert issubclass(DataPruning, L.Callback) and "lightning.pytorch" not in sys.modules
print("trained", pruner.report().trained)
"""


def test_pytorch_lightning_is_the_same_under_its_older_name() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _OTHER_NAME],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"trained {sum(by_hand.by_hand().planned)}" in done.stdout
