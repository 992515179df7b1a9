"""Drive a hand-made batching loop, without a DataLoader, through `plan` and `observe`.

    pip install "thresher[bench]" && python no_dataloader.py

For loaders such as FFCV or DALI, for other frameworks, or, as here, for data that lies in memory
and is batched by indexing: the plan says which samples come in which order, the loop tells their
scores.
"""

import argparse

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

import thresher

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--batch-size", type=int, default=32)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

torch.manual_seed(args.seed)
torch.set_num_threads(1)

images, labels = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
images = images.float().div(16)
train_images, train_labels = images[::2], labels[::2]
test_images, test_labels = images[1::2], labels[1::2]

model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

pruner = thresher.Pruner(
    thresher.Omission(prune_ratio=0.5),
    epochs=args.epochs,
    seed=args.seed,
    num_samples=len(train_images),
)

for epoch in range(args.epochs):
    plan = pruner.plan(epoch)
    for ids, weights in zip(
        plan.ids.split(args.batch_size), plan.weights.split(args.batch_size), strict=True
    ):
        logits, targets = model(train_images[ids]), train_labels[ids]
        losses = F.cross_entropy(logits, targets, reduction="none")
        loss = (weights * losses).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        pruner.observe(ids, thresher.scores.logit_grad_norm(logits, targets))

with torch.inference_mode():
    accuracy = (model(test_images).argmax(1) == test_labels).float().mean().item()
print(f"{accuracy:.1%} right on {len(test_labels)} held-out digits")
print(pruner.report())
