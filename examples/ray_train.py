"""Train a small network on scikit-learn's handwritten digits with Ray Train, half of the visits
pruned.

    pip install "thresher[bench,ray]" && python ray_train.py --workers 2

examples/ray_plain.py is this script without Thresher in it.
"""

import argparse
import tempfile
import time
from pathlib import Path

import ray.train
import torch
import torch.nn.functional as F
from ray.train.torch import TorchTrainer, get_device, prepare_model
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import thresher

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--workers", type=int, default=1)
args = parser.parse_args()


def network():
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 64, 10),
    )


def train_func(config):
    epochs, context = config["epochs"], ray.train.get_context()
    torch.manual_seed(config["seed"])
    torch.set_num_threads(1)

    images, labels = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
    images = images.float().div(16).view(-1, 1, 8, 8).to(get_device())
    labels = labels.to(get_device())
    train = TensorDataset(images[::2], labels[::2])
    test_images, test_labels = images[1::2], labels[1::2]

    model = prepare_model(network())
    loader = DataLoader(train, batch_size=32 // context.get_world_size(), shuffle=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * -(-len(train) // 32))
    method = thresher.RePB(prune_ratio=0.5)
    pruner = thresher.Pruner(method, epochs=epochs, seed=config["seed"])
    loader = pruner.wrap(loader)
    scheduler = pruner.pace(scheduler)

    start = time.perf_counter()
    for epoch in range(epochs):
        if context.get_world_size() > 1:
            loader.sampler.set_epoch(epoch)
        model.train()
        for x, y in loader:
            losses = F.cross_entropy(model(x), y, reduction="none")
            loss = pruner.reduce(losses)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
    metrics = {"seconds": time.perf_counter() - start, "report": str(pruner.report())}

    model.eval()
    with torch.inference_mode():
        right = model(test_images).argmax(1) == test_labels
    metrics["accuracy"] = right.float().mean().item()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = None
        if context.get_world_rank() == 0:
            torch.save(model.state_dict(), Path(folder) / "model.pt")
            checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report(metrics, checkpoint=checkpoint)


scaling = ray.train.ScalingConfig(num_workers=args.workers)
trainer = TorchTrainer(train_func, train_loop_config=vars(args), scaling_config=scaling)
metrics = trainer.fit().metrics
print(
    f"{metrics['accuracy']:.1%} right on 898 held-out digits, trained in {metrics['seconds']:.1f} s"
)
print(metrics["report"])
