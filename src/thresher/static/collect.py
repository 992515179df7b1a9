"""One pass of a reference model over the user's data, as `Collected`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast, final

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from thresher._evaluation import undisturbed
from thresher.errors import BatchMismatchError, MissingScoreError, SettingError
from thresher.static.batch_rows import FIELDS, OF_BATCHES, Rows
from thresher.static.collected import Collected
from thresher.static.full_gradients import Forward
from thresher.static.reading import in_order, inputs_of
from thresher.static.signals import SIGNALS

_USUAL = ("labels", "features", "probabilities", "loss", "el2n", "grand_last_layer")


def classify(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
    """Return the logits and targets of a batch (x, y): the model's device, `model(x)`, and y.

    Raises:
        SettingError: the batch is no pair of tensors.
    """
    is_pair = isinstance(batch, tuple | list) and len(batch) == 2
    if not is_pair or not all(isinstance(part, Tensor) for part in batch):
        raise SettingError(
            f"A batch of type {type(batch).__name__}",
            "a pair of tensors (x, y)",
            "Say what the model makes of it: collect(model, loader, fn=lambda model, batch: "
            "(logits, targets))",
        )
    device = next((tensor.device for tensor in model.parameters()), batch[0].device)
    return model(batch[0].to(device)), batch[1].to(device)


def collect(
    models: nn.Module | Sequence[nn.Module],
    loader: DataLoader[Any],
    *,
    fn: Forward = classify,
    needs: Sequence[str] | None = None,
    weights: Sequence[float] | None = None,
    head: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Collected:
    """Return what a reference model says about every sample, in one pass over the data.

    The pass is in eval mode and without autograd, over a copy of the loader that goes through the
    data set in order. Modes and buffers of the model, and the global random states, are afterwards
    as they were. Augmentation that the data set does is seen as it comes.

    Args:
        models: a model; or several, of seeds, epochs or checkpoints, whose scores are averaged.
            Features and probabilities are then the last one's.
        loader: a DataLoader of the whole map-style data set, shuffling or not; not wrapped.
        fn: from the model and a batch to logits, (B, c) or (B, T, c), and class targets, (B,) or
            (B, T), or None for unlabelled data. By default a batch is (x, y).
        needs: fields and scores to take, such as `EL2N.needs`; None takes the labels, "features",
            "probabilities", "loss", "el2n" and "grand_last_layer", as far as there are any. Also
            "grand" (the gradient norm of all parameters), "deepfool" (a squared distance),
            "least_confidence", "entropy", "margin", "moso" and "moso_exact".
        weights: of the models in the averages, their learning rates say; None means equal.
        head: the name of the module whose input the features are; None takes the linear layer that
            is called last.
        progress: called with the samples done and those in all, after every batch.

    Returns:
        All on the CPU, by id.

    Raises:
        AlreadyWrappedError, IterableDatasetError, SamplerError: the loader has no samples by id.
        BatchMismatchError: the batches do not hold each sample once.
        SettingError: a batch, a target or a name cannot be used.

    Cost: a forward pass a model; 4·(c + d) bytes a sample for the fields. "grand" adds a backward
        pass, "deepfool" up to 50 forward and 450 backward passes.

    Example:
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> data = TensorDataset(torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2]))
        >>> collected = collect(torch.nn.Linear(4, 3), DataLoader(data, 4, shuffle=True))
        >>> collected.features.shape, collected.labels.tolist(), sorted(collected.scores)
        (torch.Size([6, 4]), [0, 1, 2, 0, 1, 2], ['el2n', 'grand_last_layer', 'loss'])
    """
    chosen = [models] if isinstance(models, nn.Module) else list(models)
    shares = [1.0] * len(chosen) if weights is None else list(weights)
    if not chosen or len(shares) != len(chosen) or not sum(shares) > 0:
        raise SettingError(
            f"collect of {len(chosen)} models with weights {shares}",
            "one model or more, and a weight for each",
        )
    wanted = _Wanted.of(needs)
    ordered = in_order(loader)
    size = len(cast("Any", ordered.dataset))
    means: dict[str, Tensor] = {}
    data = None
    for place, (model, share) in enumerate(zip(chosen, shares, strict=True)):
        told = None if progress is None else _Told(progress, place * size, size * len(chosen))
        data = _read(model, ordered, fn, wanted, head, told)
        for name in (*data.scores, *wanted.whole):
            part = data.signal(name).double() * (share / sum(shares))
            means[name] = means[name] + part if name in means else part
    assert data is not None
    given = {name: getattr(data, name) for name in ("features", "probabilities")}
    return replace(
        data,
        scores={name: mean.float() for name, mean in means.items()},
        **{name: value if name in wanted.names else None for name, value in given.items()},
    )


@final
@dataclass(frozen=True)
class _Wanted:
    """What to take of each batch, and which scores need the whole pass."""

    names: tuple[str, ...]
    of_rows: tuple[str, ...]
    whole: tuple[str, ...]
    is_usual: bool

    @classmethod
    def of(cls, needs: Sequence[str] | None) -> _Wanted:
        names = _USUAL if needs is None else tuple(dict.fromkeys(needs))
        known = tuple(dict.fromkeys((*FIELDS, *OF_BATCHES, *SIGNALS)))
        unknown = sorted(set(names) - set(known))
        if unknown:
            raise SettingError(
                f"needs={unknown}",
                f"names among {', '.join(known)}",
                "Scores of training itself, such as 'forgetting', are from a TrainingRecorder",
            )
        whole = tuple(name for name in names if name in SIGNALS and not SIGNALS[name].is_local)
        sources = [source for name in whole for source in SIGNALS[name].sources]
        local = [name for name in names if name not in whole]
        return cls(names, tuple(dict.fromkeys(("labels", *local, *sources))), whole, needs is None)

    def is_optional(self, name: str) -> bool:
        """Whether the pass goes on without it."""
        return self.is_usual or (name == "labels" and name not in self.names)


@final
@dataclass(frozen=True)
class _Told:
    """A progress function that counts the passes before this one, too."""

    progress: Callable[[int, int], None]
    before: int
    total: int

    def __call__(self, done: int) -> None:
        self.progress(self.before + done, self.total)


def _read(
    model: nn.Module,
    loader: DataLoader[Any],
    fn: Forward,
    wanted: _Wanted,
    head: str | None,
    told: _Told | None,
) -> Collected:
    """Pass over the loader once: what is wanted of the rows."""
    size, start, num_classes = len(cast("Any", loader.dataset)), 0, 0
    columns: dict[str, Tensor] = {}
    with undisturbed(model), inputs_of(model, head) as seen, torch.no_grad():
        for batch in loader:
            rows = Rows(model, fn, batch, seen)
            stop, num_classes = start + len(rows), rows.num_classes
            if stop > size:
                raise _counted(stop, size)
            for name in wanted.of_rows:
                value = rows.take(name)
                if value is not None:
                    if name not in columns:
                        shape = (size, *value.shape[1:])
                        columns[name] = torch.empty(shape, dtype=value.dtype, device="cpu")
                    columns[name][start:stop] = value
                elif not wanted.is_optional(name):
                    raise _missing(name)
            start = stop
            if told is not None:
                told(start)
    if start != size:
        raise _counted(start, size)
    fields = {name: columns.pop(name, None) for name in FIELDS}
    return Collected(num_classes=num_classes, scores=columns, **cast("Any", fields))


def _counted(count: int, size: int) -> BatchMismatchError:
    return BatchMismatchError(
        f"The loader's batches came to {count} samples of {size}",
        "each sample of the data set once",
        "Leave filtering and repeating to the data set, not to the collate function",
    )


def _missing(name: str) -> MissingScoreError:
    return MissingScoreError(
        f"This model and loader do not give {name!r}",
        "logits of shape (B, c); class targets for what is measured against labels; and for "
        "features a linear layer, or the head",
        "Let fn return (logits, targets), and name the head: collect(..., fn=fn, head='fc')",
    )
