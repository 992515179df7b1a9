"""Train on several ranks with FSDP2 (`fully_shard`), on CPUs, half of the visits pruned.

    pip install "thresher[bench]" && torchrun --nproc-per-node=2 fsdp.py

examples/ddp.py is this script with DistributedDataParallel.
"""

import argparse
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import thresher

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

dist.init_process_group("gloo")

torch.manual_seed(args.seed)
torch.set_num_threads(1)

images, labels = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
images = images.float().div(16).view(-1, 1, 8, 8)
train = TensorDataset(images[::2], labels[::2])
test_images, test_labels = images[1::2], labels[1::2]

model = nn.Sequential(
    nn.Conv2d(1, 32, 3, padding=1),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.Conv2d(32, 32, 3, padding=1),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(32 * 64, 10),
)
mesh = init_device_mesh("cpu", (dist.get_world_size(),))
model = fully_shard(model, mesh=mesh)
batch_size = 32 // dist.get_world_size()
loader = DataLoader(train, batch_size=batch_size, sampler=DistributedSampler(train))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs * len(loader))

pruner = thresher.Pruner(thresher.RePB(prune_ratio=0.5), epochs=args.epochs, seed=args.seed)
loader = pruner.wrap(loader)
scheduler = pruner.pace(scheduler)

start = time.perf_counter()
for _ in range(args.epochs):
    model.train()
    for x, y in loader:
        losses = F.cross_entropy(model(x), y, reduction="none")
        loss = pruner.reduce(losses)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
seconds = time.perf_counter() - start

model.eval()
with torch.inference_mode():
    accuracy = (model(test_images).argmax(1) == test_labels).float().mean().item()
if dist.get_rank() == 0:
    print(f"{accuracy:.1%} right on {len(test_labels)} held-out digits, trained in {seconds:.1f} s")
    print(pruner.report())
dist.destroy_process_group()
