"""What training itself says about every sample: forgetting, and averages over its epochs."""

from __future__ import annotations

from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from thresher.errors import SettingError
from thresher.scores import logit_grad_norm
from thresher.static.collected import Collected
from thresher.static.full_gradients import losses

_KINDS = {
    "presented": (torch.int32, 0),
    "correct": (torch.bool, False),
    "learned": (torch.bool, False),
    "forgotten": (torch.int32, 0),
    "loss": (torch.float64, 0.0),
    "el2n": (torch.float64, 0.0),
    "labels": (torch.int64, -1),
}


@final
class TrainingRecorder:
    """Counts, over a training run, how often each sample was forgotten, and averages its scores.

    An event of forgetting is a presentation on which a sample is misclassified that was classified
    correctly on its presentation before. A sample that never was gets +∞, so that it ranks first.

    Args:
        num_samples: n, the size of the data set.

    Cost: 34 bytes a sample on the device of the logits; a few scatters a batch, and nothing goes to
        the host until `collected` is called.

    Example:
        >>> recorder = TrainingRecorder(2)
        >>> right, wrong = torch.tensor([[9.0, 0.0]]), torch.tensor([[0.0, 9.0]])
        >>> for logits in (right, wrong, right, wrong):
        ...     recorder.observe([0], logits, torch.tensor([0]))
        >>> recorder.collected().scores["forgetting"].tolist()
        [2.0, inf]
    """

    def __init__(self, num_samples: int) -> None:
        if num_samples < 1:
            raise SettingError(f"TrainingRecorder({num_samples})", "1 sample or more")
        self.num_samples, self.num_classes = num_samples, 0
        self._columns = {
            name: torch.full((num_samples,), fill, dtype=dtype, device="cpu")
            for name, (dtype, fill) in _KINDS.items()
        }

    @torch.no_grad()
    def observe(self, ids: Tensor | np.ndarray | list[int], logits: Tensor, labels: Tensor) -> None:
        """Record one batch, before its parameter update.

        Args:
            ids: the samples' positions in the data set, such as `loader.batch_ids` of a wrapped
                loader; each at most once, shape (B,).
            logits: shape (B, c).
            labels: integers, shape (B,).

        Raises:
            SettingError: the shapes do not fit, or an id is out of range (seen on the CPU only).
        """
        given = torch.as_tensor(ids, dtype=torch.int64)
        if logits.ndim != 2 or not len(given) == len(logits) == len(labels):
            raise SettingError(
                f"{len(given)} ids, logits {tuple(logits.shape)}, labels {tuple(labels.shape)}",
                "shapes (B,), (B, c) and (B,)",
            )
        if given.device.type == "cpu" and len(given):
            low, high = int(given.min()), int(given.max())
            if not 0 <= low <= high < self.num_samples:
                raise SettingError(
                    f"ids from {low} to {high}", f"ids of the {self.num_samples} samples"
                )
        columns = self._on(logits.device)
        device = logits.device
        places, labels = (each.to(device, non_blocking=True) for each in (given, labels))
        is_correct = logits.argmax(1) == labels
        columns["forgotten"][places] += (columns["correct"][places] & ~is_correct).int()
        columns["correct"][places] = is_correct
        columns["learned"][places] |= is_correct
        columns["presented"][places] += 1
        columns["loss"][places] += losses(logits, labels).double()
        columns["el2n"][places] += logit_grad_norm(logits, labels).double()
        columns["labels"][places] = labels.long()
        self.num_classes = logits.shape[1]

    def collected(self) -> Collected:
        """Return what was recorded: scores "forgetting", "loss" and "el2n", and the labels.

        The last two are means over a sample's presentations, NaN without any; the labels are left
        out while some sample was never presented.
        """
        columns = self._on(torch.device("cpu"))
        presented, labels = columns["presented"], columns["labels"]
        never = torch.tensor(torch.inf, dtype=torch.float32, device="cpu")
        return Collected(
            labels=labels.clone() if bool((presented > 0).all()) else None,
            num_classes=self.num_classes,
            scores={
                "forgetting": torch.where(columns["learned"], columns["forgotten"].float(), never),
                "loss": (columns["loss"] / presented).float(),
                "el2n": (columns["el2n"] / presented).float(),
            },
        )

    def state_dict(self) -> dict[str, Any]:
        """Return a snapshot: tensors of fixed shape, on the CPU, and a scalar."""
        columns = {name: column.cpu().clone() for name, column in self._columns.items()}
        return {"columns": columns, "num_classes": self.num_classes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a snapshot of a recorder of as many samples.

        Raises:
            SettingError: it is of another number.
        """
        size = len(state["columns"]["presented"])
        if size != self.num_samples:
            raise SettingError(
                f"The state of {size} samples", f"of {self.num_samples}, as this recorder has"
            )
        self._columns = {name: state["columns"][name].clone() for name in _KINDS}
        self.num_classes = state["num_classes"]

    def _on(self, device: torch.device) -> dict[str, Tensor]:
        """Return the columns on the device of the logits; they move there once."""
        if self._columns["presented"].device != device:
            self._columns = {name: column.to(device) for name, column in self._columns.items()}
        return self._columns
