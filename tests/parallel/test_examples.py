"""The examples on ranks train under torchrun, and are the one-process script plus what it takes."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from parallel import jobs
from parallel.processes import succeed
from thresher import RePB

EXAMPLES = Path(__file__).parents[2] / "examples"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def body(name: str) -> list[str]:
    """The script's lines after its docstring."""
    return (EXAMPLES / name).read_text().split('"""', 2)[2].splitlines()


def differences(before: str, after: str) -> list[str]:
    lines = list(difflib.unified_diff(body(before), body(after), n=0, lineterm=""))[2:]
    return [line for line in lines if line[0] in "+-" and line[1:].strip()]


def test_the_ddp_example_adds_to_the_pruned_one_only_what_ddp_asks_for() -> None:
    held_out = (
        "{accuracy:.1%} right on {len(test_labels)} held-out digits, trained in {seconds:.1f} s"
    )
    assert differences("pruned.py", "ddp.py") == [
        "+import torch.distributed as dist",
        "-from torch.utils.data import DataLoader, TensorDataset",
        "+from torch.nn.parallel import DistributedDataParallel",
        "+from torch.utils.data import DataLoader, DistributedSampler, TensorDataset",
        '+dist.init_process_group("gloo")',
        "-loader = DataLoader(train, batch_size=32, shuffle=True)",
        "+model = DistributedDataParallel(model)",
        "+batch_size = 32 // dist.get_world_size()",
        "+loader = DataLoader(train, batch_size=batch_size, sampler=DistributedSampler(train))",
        f'-print(f"{held_out}")',
        "-print(pruner.report())",
        "+if dist.get_rank() == 0:",
        f'+    print(f"{held_out}")',
        "+    print(pruner.report())",
        "+dist.destroy_process_group()",
    ]


def test_the_fsdp_example_differs_from_the_ddp_one_only_in_the_model() -> None:
    assert differences("ddp.py", "fsdp.py") == [
        "-from torch.nn.parallel import DistributedDataParallel",
        "+from torch.distributed.device_mesh import init_device_mesh",
        "+from torch.distributed.fsdp import fully_shard",
        "-model = DistributedDataParallel(model)",
        '+mesh = init_device_mesh("cpu", (dist.get_world_size(),))',
        "+model = fully_shard(model, mesh=mesh)",
    ]


def table(name: str, epochs: int) -> tuple[float, list[list[str]]]:
    """The accuracy an example prints, and the rows of its report."""
    done = subprocess.run(
        [*TORCHRUN, EXAMPLES / name, "--epochs", str(epochs)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "error", "OMP_NUM_THREADS": "1"},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = re.findall(r"([\d.]+)% right", done.stdout)
    assert len(found) == 1, "one rank prints"
    rows = [line.split() for line in done.stdout.splitlines() if re.match(r" +\d+ ", line)]
    assert "saved 49." in done.stdout or "saved 50." in done.stdout
    return float(found[0]), rows


@pytest.mark.parametrize("name", ["ddp.py", pytest.param("fsdp.py", marks=pytest.mark.slow)])
def test_the_example_trains_under_torchrun(name: str) -> None:
    accuracy, rows = table(name, 6)
    assert accuracy > 93
    assert len(rows) == 6
    for row in rows:
        planned, trained, dropped, sent = (int(row[k].replace(",", "")) for k in (1, 2, 7, 8))
        assert (trained, dropped) == (planned, 0)
        assert sent == 2 * 256 + 4 * -(-planned // 2)


def wrapped_gradients(rank: int) -> dict[str, list[torch.Tensor]]:
    """Gradients as DDP and FSDP2 leave them, beside the mean over the ranks by hand."""
    found: dict[str, list[torch.Tensor]] = {}
    for kind in ("ddp", "fsdp"):
        pruner, loader = jobs.wrapped(RePB(rho=0.5), 21, 4, epochs=3)
        linear = jobs.model()
        if kind == "ddp":
            model: torch.nn.Module = DistributedDataParallel(linear)
        else:
            mesh = init_device_mesh("cpu", (dist.get_world_size(),))
            model = fully_shard(linear, mesh=mesh)
        for _ in range(3):
            for ids in loader:
                x, y = jobs.features(ids)
                model.zero_grad()  # before the forward pass, after which FSDP2 has other parameters
                each = torch.nn.functional.cross_entropy(model(x), y, reduction="none")
                pruner.reduce(each, scores=(ids + 1).float()).backward()
                gradients = [p.grad for p in model.parameters()]
                whole = [g.full_tensor() if hasattr(g, "full_tensor") else g for g in gradients]
                found.setdefault(kind, []).append(torch.cat([g.reshape(-1) for g in whole]))  # type: ignore[union-attr]
    return found


def test_ddp_and_fsdp_leave_the_gradient_of_one_process() -> None:
    (alone,) = jobs.gradients(0, [RePB(rho=0.5)], 21, 8, 3, {})
    for found in succeed(wrapped_gradients, 2):
        for steps in found.values():
            assert len(steps) == len(alone)
            for one, many in zip(alone, steps, strict=True):
                assert torch.allclose(one, many, rtol=0, atol=1e-6)
