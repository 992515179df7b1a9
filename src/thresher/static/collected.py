"""Collected: what a reference model says about every sample, and the gradients it implies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from thresher.errors import MissingScoreError, SettingError
from thresher.static.signals import SIGNALS

_FIELDS = ("labels", "features", "probabilities")


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Collected:
    """What a reference model says about every sample, by id: all that a static method sees.

    The gradient of sample i's cross-entropy by the last linear layer's weight and bias is
    g_i = r_i ⊗ [h_i, 1] with r = p − onehot(y): an outer product, so it is kept as its two
    factors, and nothing here has n·c·d entries.

    Args:
        labels: y, int64, shape (n,).
        num_classes: c; 0 if there are none.
        features: h, the input of the last linear layer, float32, shape (n, d).
        probabilities: p, float32, shape (n, c).
        scores: named signals, float32, shape (n,) each: "loss", "forgetting", ...
        validation: what the same model says about held-out samples, for methods that want it:
            `dataclasses.replace(data, validation=collect(model, held_out))`.

    Raises:
        SettingError: a shape or a dtype does not fit, or nothing is given.

    Example:
        >>> p = torch.tensor([[0.5, 0.5], [0.0, 1.0]])
        >>> data = Collected(labels=torch.tensor([0, 1]), num_classes=2, probabilities=p)
        >>> data.signal("el2n").tolist()
        [0.7071067690849304, 0.0]
    """

    labels: Tensor | None = None
    num_classes: int = 0
    features: Tensor | None = None
    probabilities: Tensor | None = None
    scores: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    validation: Collected | None = None

    def __post_init__(self) -> None:
        n = self.num_samples
        expected = {
            "labels": (torch.int64, (n,)),
            "features": (torch.float32, (n, None)),
            "probabilities": (torch.float32, (n, self.num_classes)),
        }
        given = {name: getattr(self, name) for name in _FIELDS} | dict(self.scores)
        for name, tensor in given.items():
            dtype, shape = expected.get(name, (torch.float32, (n,)))
            if tensor is not None:
                _require(name, tensor, dtype, shape)
        if self.labels is not None and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < (
            self.num_classes
        ):
            raise SettingError(
                f"labels from {int(self.labels.min())} to {int(self.labels.max())}",
                f"classes from 0 to {self.num_classes - 1}, as num_classes={self.num_classes}",
            )

    @cached_property
    def num_samples(self) -> int:
        """The number of samples, n."""
        tensors = [getattr(self, name) for name in _FIELDS] + list(self.scores.values())
        sizes = [len(tensor) for tensor in tensors if tensor is not None]
        if not sizes or not sizes[0]:
            raise SettingError(
                "Collected() without a sample",
                "labels, features, probabilities or scores of one sample or more",
            )
        return sizes[0]

    def has(self, name: str) -> bool:
        """Whether `name` is one of the fields or scores given, or a signal they imply."""
        if name in (*_FIELDS, "validation"):
            return getattr(self, name) is not None
        return name in self.scores or (
            name in SIGNALS and all(map(self.has, SIGNALS[name].sources))
        )

    def require(self, *names: str) -> None:
        """Refuse data that lacks what a method needs.

        Raises:
            MissingScoreError: with the names.
        """
        missing = [name for name in names if not self.has(name)]
        if missing:
            raise MissingScoreError(
                f"The collected data has no {', '.join(missing)}",
                f"{', '.join(names)}",
                f"Let thresher.static.collect take them: collect(model, loader, needs={names}), "
                "or put them into Collected(...) yourself",
            )

    def signal(self, name: str) -> Tensor:
        """Return a named score, float32, shape (n,): as collected, else as p, h and y imply it.

        "loss" is −log p_y, "el2n" ‖p − y‖, "grand_last_layer" ‖g_i‖, "least_confidence" 1 − max p,
        "entropy" −Σ p log p, "margin" p₁ − p₂; "moso", "moso_exact": see `MoSo`.

        Raises:
            MissingScoreError: it is neither collected nor implied.
        """
        if name in self.scores:
            return self.scores[name]
        self.require(name)
        return SIGNALS[name].formula(self)

    def residuals(self, ids: Tensor | None = None) -> Tensor:
        """Return r = p − onehot(y) of all samples, or of `ids`: float32, shape (m, c)."""
        probabilities, labels = self._given("probabilities"), self._given("labels")
        if ids is None:
            residuals = probabilities.clone()
        else:
            residuals, labels = probabilities[ids], labels[ids]
        minus_one = torch.full((len(labels), 1), -1.0, dtype=torch.float32, device="cpu")
        return residuals.scatter_add_(1, labels[:, None], minus_one)

    def gradient_norms(self, ids: Tensor | None = None) -> Tensor:
        """Return ‖g_i‖ = ‖r_i‖·√(1 + ‖h_i‖²): float32, shape (m,)."""
        # A norm needs no temporary of the features' size.
        length = torch.linalg.vector_norm(self._rows("features", ids), dim=1)
        return self.residuals(ids).norm(dim=1) * length.square_().add_(1).sqrt_()

    def inner_products(self, left: Tensor, right: Tensor) -> Tensor:
        """Return ⟨g_i, g_j⟩ = ⟨r_i, r_j⟩·(1 + ⟨h_i, h_j⟩) of two lists of ids: (l, r), float32.

        Cost: O(l·r·(c + d)); the caller keeps l·r small.
        """
        products = self._rows("features", left) @ self._rows("features", right).T
        return products.add_(1).mul_(self.residuals(left) @ self.residuals(right).T)

    def gradient_sum(self, ids: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        """Return Σ w_i g_i of all samples or of `ids`: float32, shape (c, d + 1).

        The last column is the bias's. Cost: O(m·c·d).
        """
        residuals = self.residuals(ids)
        if weights is not None:
            residuals.mul_(weights[:, None])
        by_weight = residuals.T @ self._rows("features", ids)
        return torch.cat([by_weight, residuals.sum(0)[:, None]], dim=1)

    def projections(self, direction: Tensor, ids: Tensor | None = None) -> Tensor:
        """Return ⟨g_i, M⟩ = r_iᵀ M [h_i, 1] of all samples or of `ids`: float32, shape (m,).

        Args:
            direction: M, float32, shape (c, d + 1), as `gradient_sum` returns it.
            ids: int64, shape (m,).

        Cost: O(m·c·d).
        """
        features = self._rows("features", ids)
        logits = torch.addmm(direction[:, -1], features, direction[:, :-1].T)
        return logits.mul_(self.residuals(ids)).sum(1)

    def _given(self, name: str) -> Tensor:
        self.require(name)
        return getattr(self, name)

    def _rows(self, name: str, ids: Tensor | None) -> Tensor:
        tensor = self._given(name)
        return tensor if ids is None else tensor[ids]


def _require(name: str, tensor: Tensor, dtype: torch.dtype, shape: tuple[int | None, ...]) -> None:
    fits = tensor.ndim == len(shape) and all(
        want is None or want == size for want, size in zip(shape, tensor.shape, strict=True)
    )
    if not fits or tensor.dtype != dtype or tensor.device.type != "cpu":
        wanted = tuple("d" if size is None else size for size in shape)
        raise SettingError(
            f"{name} is {tensor.dtype} on {tensor.device}, shape {tuple(tensor.shape)}",
            f"{dtype} on the CPU, shape {wanted}",
        )
