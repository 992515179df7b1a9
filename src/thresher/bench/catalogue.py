"""The names that `thresher compare` knows, and how each becomes a method.

Nothing heavy is imported here, so that `--help` and a misspelt name answer at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from thresher.bench.chosen_once import STATIC
from thresher.bench.spelling import Part, base_name, settings_of
from thresher.errors import SettingError

if TYPE_CHECKING:
    from thresher.methods import Method
    from thresher.static import StaticMethod

BASELINES = ("full", "random", "fewer-epochs")
"""In every table, asked for or not."""

METHODS: dict[str, str] = {
    "full": "every sample in every epoch: what the others are measured against",
    "random": "a fresh uniformly random part of the data each epoch",
    "random-cycle": "random parts without repetition until all of the data has been seen",
    "infobatch": "InfoBatch: drops a random part of the samples below the mean loss",
    "repb": "RePB: ranks losses within windows of recent steps, re-weights by cumulative rates",
    "orderdp": "OrderDP: of each random group of samples keeps those of highest loss",
    "omission": "Omission: drops by probability from a running mean of logit-gradient norms",
    "omission-systematic": "Omission with systematic draws, so every epoch has the same size",
    "seta": "SeTa: slides a window over groups of like losses, from easy to hard",
    "kakurenbo": "KAKURENBO: hides what is learnt and sure, and looks at it again after each epoch",
    "epsilon-greedy": "ε-greedy: keeps the largest averaged losses and a few at random",
    "ucb": "UCB: keeps the largest averaged losses plus their spread",
    "persistent-importance": "Salaün et al.: draws in proportion to a remembered gradient norm",
    "historical-replacement": "draws from large batches, with replacement, by Omission's scores",
    "historical-ranking": "draws from large batches by the rank of Omission's scores",
    "random-within-batch": "a random part of each large batch",
    "selective-backprop": "Selective Backprop: a scoring forward, then the chance of a loss's rank",
    "importance-sampling": "Katharopoulos and Fleuret: a scoring forward, draws by gradient norm",
    "extra-forward-bernoulli": "Omission's chances from a scoring forward of each large batch",
    "ordered-top-q": "ordered SGD: of each candidate batch the largest losses",
    **{name: static.text for name, static in STATIC.items()},
    "fewer-epochs": "no pruning, as many epochs fewer as the ratio says, same schedule shape",
    "fewer-epochs-scaled": "fewer-epochs with the learning rate multiplied by full/fewer epochs",
}
"""Name on the command line, and one line for `--help`."""

_BUILT: dict[str, tuple[str, dict[str, Any]]] = {
    "full": ("Full", {}),
    "random": ("RandomPruning", {"mode": "fresh"}),
    "random-cycle": ("RandomPruning", {"mode": "cycle"}),
    "infobatch": ("InfoBatch", {}),
    "repb": ("RePB", {}),
    "orderdp": ("OrderDP", {}),
    "omission": ("Omission", {"sampling": "bernoulli"}),
    "omission-systematic": ("Omission", {"sampling": "systematic"}),
    "seta": ("SeTa", {}),
    "kakurenbo": ("KAKURENBO", {}),
    "epsilon-greedy": ("EpsilonGreedy", {}),
    "ucb": ("UCB", {}),
    "persistent-importance": ("PersistentImportance", {}),
    "historical-replacement": ("HistoricalReplacement", {}),
    "historical-ranking": ("HistoricalRanking", {}),
    "random-within-batch": ("RandomWithinBatch", {}),
    "selective-backprop": ("SelectiveBackprop", {}),
    "importance-sampling": ("ImportanceSampling", {}),
    "extra-forward-bernoulli": ("ExtraForwardBernoulli", {}),
    "ordered-top-q": ("OrderedTopQ", {}),
    **{name: (static.kind, {}) for name, static in STATIC.items()},
    "fewer-epochs": ("Full", {}),
    "fewer-epochs-scaled": ("Full", {}),
}
"""Name on the command line -> the class, and the settings that the name stands for."""

_RULES = {"importance": "Importance"}
"""Name of a rule for the windows of RePB -> its class in `thresher.windows`."""

DEFAULT_METHODS = (*BASELINES, "infobatch", "repb", "orderdp", "omission")

TASKS: dict[str, str] = {
    "digits": "8x8 digits shipped inside scikit-learn; seconds a run; a smoke test only",
    "fashion-mnist": "60,000 clothing images, 28x28 grey; under a minute a run on one core",
    "fashion-mnist-vit": "20,000 of them, and a small vision transformer",
    "cifar10": "50,000 colour photographs, 32x32, 10 classes",
    "cifar10-vit": "20,000 of them, and a small vision transformer",
    "cifar10n": "15,000 of them with people's labels, 9 % wrong; tested on right ones",
    "cifar10n-worse": "the same, 40 % wrong",
    "cifar100": "50,000 colour photographs, 32x32, 100 classes",
    "ag-news": "14,547 headlines in four classes, and a small transformer from scratch",
    "ag-news-noisy": "9,993 of them with people's labels, 20 % wrong; tested on right ones",
    "esc10": "320 sounds of ten kinds, as log-mel pictures",
    "tinyshakespeare": "5,000 pieces of Shakespeare, and a GPT that predicts characters",
    "imagenet": "photographs in a folder of class folders, and a ResNet-50; for an accelerator",
}
"""Name on the command line, and one line for `--help`."""


class UnknownNameError(SettingError):
    """A task or method that this version does not have."""


def require_known(kind: str, name: str, known: Iterable[str]) -> str:
    """Return `name` if it is known.

    Args:
        kind: what is being named, such as "task".
        name: what the user typed.
        known: the names that exist.

    Raises:
        UnknownNameError: it is not known; the message has the nearest name.

    Example:
        >>> require_known("task", "digit", TASKS)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        thresher.bench.catalogue.UnknownNameError: unknown task 'digit'; expected: one of digits,
        ... The nearest is 'digits'.
    """
    names = list(known)
    if name in names:
        return name
    nearest = difflib.get_close_matches(name.lower().replace("_", "-"), names, n=1, cutoff=0.5)
    raise UnknownNameError(
        f"unknown {kind} {name!r}",
        f"one of {', '.join(names)}",
        f"The nearest is {nearest[0]!r}" if nearest else "",
    )


def is_pruned(method: str) -> bool:
    """Return whether a ratio means anything to this name: all but `full`."""
    return method != "full"


def class_name(name: str) -> str:
    """Return the name of the class that a method is built of; empty if there is none.

    Example:
        >>> class_name("orderdp"), class_name("omission-systematic"), class_name("full ")
        ('OrderDP', 'Omission', '')
    """
    return _BUILT.get(name, ("", {}))[0]


def has_step_length(method: str) -> bool:
    """Return whether `step_exponent` changes anything: only where samples are left out."""
    return method not in ("full", "fewer-epochs", "fewer-epochs-scaled")


def is_control(method: str) -> bool:
    """Return whether this is a way of saving that needs no method: what a method must beat."""
    return method in ("full", "random", "random-cycle", "fewer-epochs", "fewer-epochs-scaled")


def require_method(text: str) -> None:
    """Refuse a method that `build_method` could not build.

    Raises:
        UnknownNameError: its name is not known.
        SettingError: its settings are not.
    """
    require_known("method", base_name(text), METHODS)
    build_method(text, prune_ratio=0.5)


def build_method(text: str, prune_ratio: float | None, seed: int = 0) -> Method | StaticMethod:
    """Return the method behind a name; the fewer-epochs baselines train on everything.

    Args:
        text: a name, or a name with settings, such as "repb(window=8)".
        prune_ratio: the share of the run's visits to save; a static method is told when it selects.
        seed: of the run, which a static method draws by if it draws and is not given another.

    Raises:
        UnknownNameError: the method has no such setting.
        SettingError: it refuses a value.

    Example:
        >>> build_method("infobatch", 0.3).prune_ratio
        0.3
        >>> build_method("k-center-greedy(first=7)", 0.3, seed=2)
        KCenterGreedy(balanced=False, first=7, seed=2)
    """
    name = base_name(text)
    kind, fixed = _BUILT[name]
    build = _class(name, kind)
    given = settings_of(text)
    known = [field.name for field in fields(build) if field.name not in ("prune_ratio", *fixed)]
    for setting in given:
        require_known(f"setting of {name}", setting, known)
        if isinstance(given[setting], Part):
            given[setting] = _rule(given[setting])
    if name in STATIC:
        drawn = {"seed": seed} if "seed" in known else {}
        return build(**{**STATIC[name].settings, **drawn, **given})
    if build.follows_prune_ratio:
        given["prune_ratio"] = prune_ratio
    return build(**fixed, **given)


def _class(name: str, kind: str) -> Any:
    # Here, because importing the methods imports torch.
    import thresher

    if name in STATIC:
        return getattr(thresher.static, kind)
    return getattr(thresher.online, kind, None) or getattr(thresher, kind)


def _rule(part: Part) -> object:
    from thresher import windows

    require_known("rule", part.name, _RULES)
    build = getattr(windows, _RULES[part.name])
    for name in part.settings:
        require_known(f"setting of {part.name}", name, [field.name for field in fields(build)])
    return build(**part.settings)
