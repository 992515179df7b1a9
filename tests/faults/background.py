"""What a child of the zygote does: save in the background while it trains on."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from faults.script import Mark
from small_runs import Script, copied, differences
from thresher import RePB


def main(mark: Mark, folder: str) -> None:
    """Ask for a save in mid-epoch, train to the end meanwhile, and load it."""
    warnings.simplefilter("default")
    dist.init_process_group("gloo", init_method=f"file://{folder}.store", rank=0, world_size=1)
    script = Script(RePB(prune_ratio=0.4))
    run = script.run()
    for _ in range(9):
        next(run)
    state = {"pruner": script.pruner.state_dict()}
    then = copied(state)
    saving = dcp.async_save(state, checkpoint_id=Path(folder))
    for _ in run:
        pass
    saving.result()
    other = Script(RePB(prune_ratio=0.4))
    loaded = {"pruner": other.pruner.state_dict()}
    dcp.load(loaded, checkpoint_id=Path(folder))
    found = differences(loaded, then)
    assert not found, found
    assert differences(script.pruner.state_dict(), then["pruner"])
    dist.destroy_process_group()
