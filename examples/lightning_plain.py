"""Train a small network on scikit-learn's handwritten digits with Lightning, without Thresher.

    pip install "thresher[bench,lightning]" && python lightning_plain.py

examples/lightning_images.py is this script with Thresher in it.
"""

import argparse
import time

import lightning as L
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--devices", type=int, default=1)
args = parser.parse_args()

L.seed_everything(args.seed, verbose=False)
torch.set_num_threads(1)

images, labels = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
images = images.float().div(16).view(-1, 1, 8, 8)
train = TensorDataset(images[::2], labels[::2])
test = TensorDataset(images[1::2], labels[1::2])


class Classifier(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 64, 10),
        )

    def training_step(self, batch, batch_idx):
        x, y = batch
        losses = F.cross_entropy(self.net(x), y, reduction="none")
        loss = losses.mean()
        self.log("loss", loss)
        return loss

    def test_step(self, batch, batch_idx):
        x, y = batch
        accuracy = (self.net(x).argmax(1) == y).float().mean()
        self.log("accuracy", accuracy, sync_dist=True)

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)
        steps = self.trainer.estimated_stepping_batches
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


model = Classifier()
trainer = L.Trainer(
    max_epochs=args.epochs,
    accelerator="cpu",
    devices=args.devices,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
start = time.perf_counter()
trainer.fit(model, DataLoader(train, batch_size=32 // args.devices, shuffle=True))
seconds = time.perf_counter() - start

(result,) = trainer.test(model, DataLoader(test, batch_size=256), verbose=False)
accuracy = result["accuracy"]
if trainer.is_global_zero:
    print(f"{accuracy:.1%} right on {len(test)} held-out digits, trained in {seconds:.1f} s")
