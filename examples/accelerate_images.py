"""Train a small network on scikit-learn's handwritten digits with Accelerate, half of the visits
pruned.

    pip install "thresher[bench,accelerate]" && accelerate launch --cpu accelerate_images.py

examples/accelerate_plain.py is this script without Thresher in it.
"""

import argparse
import time

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import set_seed
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import thresher
from thresher.integrations.accelerate import pace, wrap

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
set_seed(args.seed)
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
loader = DataLoader(train, batch_size=16 // accelerator.num_processes, shuffle=True)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
# Accelerate steps the scheduler once for each process, and len(loader) is that of one process.
steps = args.epochs * len(loader) // accelerator.gradient_accumulation_steps
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

method = thresher.RePB(prune_ratio=0.5)
pruner = thresher.Pruner(method, epochs=args.epochs, seed=args.seed, accumulation_steps=2)
loader = wrap(accelerator, pruner, loader)
scheduler = pace(accelerator, pruner, scheduler)
model, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, scheduler)

start = time.perf_counter()
for _ in range(args.epochs):
    model.train()
    for x, y in loader:
        with accelerator.accumulate(model):
            losses = F.cross_entropy(model(x), y, reduction="none")
            loss = pruner.reduce(losses)
            accelerator.backward(loss)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
seconds = time.perf_counter() - start

model.eval()
with torch.inference_mode():
    right = accelerator.unwrap_model(model)(test_images).argmax(1) == test_labels
accelerator.print(
    f"{right.float().mean():.1%} right on {len(right)} held-out digits, trained in {seconds:.1f} s"
)
accelerator.print(pruner.report())
