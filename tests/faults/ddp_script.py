"""A DDP training script that may be killed on any rank at any moment, and is started again.

    torchrun --standalone --nproc-per-node 4 --max-restarts 3 -m faults.ddp_script FOLDER RePB

What saves and resumes it are the lines of docs/reliability.md, run as they stand there. Beside
them a log of every plan and every step of each rank, and marks of where the rank is.
"""

from __future__ import annotations

import os
import re
import resource
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, DistributedSampler

import thresher
from faults.script import METHODS, Augmented, Log, Mark
from faults.seats import WORLD_SIZE, Seat
from thresher.parallel.exchange import Exchange

BATCH_SIZE = 4
EPOCHS = 8
STEPS_PER_SAVE = 3
# With a store that all lives share, ranks of a new life find the addresses of the last one's.
ENVIRONMENT = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1"}
PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


def recipe(without: str = "") -> str:
    """The lines of the page, but for the one that has `without` in it."""
    found = re.search(
        r"<!-- resume on ranks: .*? -->\n```python\n(.*?)```\n", PAGE.read_text(), re.S
    )
    assert found
    lines = found[1].replace("step % 100", f"step % {STEPS_PER_SAVE}").splitlines(keepends=True)
    kept = [line for line in lines if not without or without not in line]
    assert len(lines) - len(kept) == bool(without)
    return "import os\nimport torch\nimport torch.distributed as dist\n\n" + "".join(kept)


def mark_what_is_inside(mark: Mark) -> None:
    """Mark where the library talks to other ranks, and where a state is taken."""
    gather, state_dict, is_saving = Exchange.gather, thresher.Pruner.state_dict, False

    def gather_marked(self: Exchange, values: Any) -> Any:
        mark("save" if is_saving else "exchange")
        found = gather(self, values)
        mark("save" if is_saving else "step")
        return found

    def state_dict_marked(self: thresher.Pruner, **options: Any) -> dict[str, Any]:
        nonlocal is_saving
        mark("save")
        is_saving = True
        try:
            return state_dict(self, **options)
        finally:
            is_saving = False

    Exchange.gather = gather_marked  # type: ignore[method-assign]
    thresher.Pruner.state_dict = state_dict_marked  # type: ignore[method-assign]


def fill_the_disk() -> None:
    """Let no file grow when the job is saved for the fourth time."""
    save, left = torch.save, [None] * 4

    def save_or_fail(state: Any, file: Any, **options: Any) -> None:
        if file != "run.draft":  # torch itself saves tensors that ranks send each other
            save(state, file, **options)
            return
        left.pop()
        limit = resource.RLIM_INFINITY if left else 2000
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            save(state, file, **options)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)

    torch.save = save_or_fail  # type: ignore[assignment]


def break_the_data() -> None:
    """Let the hundredth sample that is asked for be one that cannot be read."""
    read, left = Augmented.__getitem__, [None] * 99

    def read_or_fail(self: Augmented, index: int) -> tuple[Tensor, Tensor]:
        if not left:
            raise OSError(f"sample {index} cannot be read")
        left.pop()
        return read(self, index)

    Augmented.__getitem__ = read_or_fail  # type: ignore[method-assign]


def built(rank: int, method: str) -> dict[str, Any]:
    """What the lines of the page refer to, by name."""
    torch.manual_seed(5)
    data = Augmented()
    net = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 3))
    model = DistributedDataParallel(net)
    torch.manual_seed(100 + rank)  # each rank drops out other units
    plain = DataLoader(data, BATCH_SIZE, sampler=DistributedSampler(data))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    schedule = OneCycleLR(optimizer, 0.02, total_steps=EPOCHS * len(plain))
    pruner = thresher.Pruner(METHODS[method], epochs=EPOCHS, seed=1)

    def score(net: nn.Module, batch: Any) -> dict[str, Tensor]:
        logits = net(batch[0])
        losses = F.cross_entropy(logits, batch[1], reduction="none")
        return dict(thresher.scores.named(pruner.method.needs, logits, batch[1], losses))

    loader = pruner.wrap(plain, score_fn=thresher.scores.scoring(net, score))
    return {
        "model": model,
        "optimizer": optimizer,
        "pruner": pruner,
        "loader": loader,
        "scheduler": pruner.pace(schedule),
        "epochs": EPOCHS,
        "example": torch.zeros(1, 6),
    }


def stepping(names: dict[str, Any], mark: Mark, log: Log) -> Callable[[Tensor, Tensor], None]:
    """Return what trains a batch, and logs it, and before the first of an epoch its plan."""
    model, optimizer, scheduler = (names[name] for name in ("model", "optimizer", "scheduler"))
    pruner, loader, logged = names["pruner"], names["loader"], set[int]()
    needs, are_planned = pruner.method.needs, pruner.method.family != "online"

    def train_step(x: Tensor, y: Tensor) -> None:
        mark("step")
        ids, epoch = loader.batch_ids.tolist(), names["epoch"]
        logits = model(x)
        losses = F.cross_entropy(logits, y, reduction="none")
        scores = thresher.scores.named(needs, logits, y, losses) if needs else None
        loss = pruner.reduce(losses, scores=scores)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
        if are_planned and epoch not in logged:
            logged.add(epoch)
            plan = pruner.plan(epoch)
            log.write(epoch=epoch, ids=plan.ids.tolist(), weights=plan.weights.tolist())
        log.write(step=names["step"] + 1, epoch=epoch, batch=ids, loss=loss.item().hex())

    return train_step


def train(mark: Mark, folder: Path, method: str, without: str) -> None:
    """Train to the end from wherever an earlier life of the job stopped."""
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    own = folder / f"rank{rank}"
    own.mkdir(exist_ok=True)
    os.chdir(folder)
    names, log = built(rank, method), Log(own)
    names["train_step"] = stepping(names, mark, log)
    exec(recipe(without), names)
    log.file.close()
    state = {name: names[name].state_dict() for name in ("model", "optimizer", "scheduler")}
    state |= {"pruner": names["pruner"].state_dict(), "step": names["step"]}
    torch.save({**state, "random": torch.get_rng_state()}, own / "final.pt")
    # Whoever leaves first would break the others' connections.
    dist.barrier()
    dist.destroy_process_group()


FAULTS = {("disk", "0"): fill_the_disk, ("data", "1"): break_the_data}


def _life() -> int:
    return 1 + int(os.environ["TORCHELASTIC_RESTART_COUNT"])


def main(folder: str, method: str, without: str = "", fault: str = "") -> None:
    """Take a seat, where the test sees who this process is and where it stands, and train.

    Args:
        folder: of the job, with the seats in it.
        method: a name in `METHODS`.
        without: leaves out the line of the recipe that has this in it.
        fault: a full "disk" on rank 0, or broken "data" on rank 1, in the first life.
    """
    mark = Seat(Path(folder) / "seats", int(os.environ["RANK"]), _life())
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    mark("start")
    mark_what_is_inside(mark)
    if _life() == 1 and (fault, os.environ["RANK"]) in FAULTS:
        FAULTS[fault, os.environ["RANK"]]()
    train(mark, Path(folder), method, without)
    mark("end")


def agent(mark: Mark, max_restarts: int, **arguments: Any) -> None:
    """Be torchrun, in a child of the zygote; its workers are forked and so start at once."""
    os.environ.update(ENVIRONMENT)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=WORLD_SIZE,
        run_id="standalone",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=max_restarts,
        monitor_interval=0.02,
        start_method="fork",
        shutdown_timeout=1,  # a forked worker has the handlers of the agent, and waits in C++
    )
    elastic_launch(config, main)(*arguments.values())


if __name__ == "__main__":
    main(*sys.argv[1:])
