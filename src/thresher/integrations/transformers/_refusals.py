"""What a Trainer may be told that pruning cannot honour, each refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

from thresher.errors import SamplerError, SettingError
from thresher.pruner import Pruner


def require_fitting(trainer: Any, pruner: Any) -> None:
    """Refuse a pruner and training arguments that say different things, or what has no meaning.

    Raises:
        SettingError: they do; the message names the argument.
    """
    if not isinstance(pruner, Pruner):
        raise SettingError(
            f"pruner={pruner!r}",
            "a thresher.Pruner",
            "Write pruner=thresher.Pruner(method, epochs=...)",
        )
    if pruner.method.family == "online":
        raise SettingError(
            f"{type(pruner.method).__name__} chooses within batches of candidates",
            "a method that chooses before an epoch",
            "Use a historical or a static method here; online ones work in a loop of your own",
        )
    if pruner.settings.shard:
        raise SettingError(
            "Pruner(shard=True), whose ranks keep ledgers of their own",
            "one ledger, which every rank has whole",
            "Leave shard out: a checkpoint folder holds one state, and it is of all samples",
        )
    for came, expected, cure in [*_of_the_run(trainer.args, pruner), *_of_the_trainer(trainer)]:
        raise SettingError(came, expected, cure)


def _of_the_run(args: Any, pruner: Pruner) -> Iterator[tuple[str, str, str]]:
    settings, micro = pruner.settings, args.gradient_accumulation_steps
    epochs, steps = args.num_train_epochs, args.max_steps
    if steps > 0 and settings.steps != steps:
        yield (
            f"max_steps={steps} beside {_length_of(settings)}",
            "the same number of optimizer steps in both",
            f"Build Pruner(method, steps={steps}) without epochs",
        )
    if steps <= 0 and settings.epochs != epochs:
        whole = epochs == int(epochs)
        yield (
            f"num_train_epochs={epochs:g} beside {_length_of(settings)}",
            "the same number of whole epochs in both",
            f"Build Pruner(method, epochs={int(epochs)})"
            if whole
            else "A plan is of a whole epoch: round num_train_epochs, or use max_steps and "
            "Pruner(method, steps=...)",
        )
    if settings.accumulation_steps != micro:
        yield (
            f"gradient_accumulation_steps={micro} beside "
            f"Pruner(accumulation_steps={settings.accumulation_steps})",
            "the same number in both",
            f"Build Pruner(method, ..., accumulation_steps={micro})",
        )
    if args.data_seed not in (None, settings.seed):
        yield (
            f"data_seed={args.data_seed} beside Pruner(seed={settings.seed})",
            "one seed for the order of the samples, the pruner's",
            f"Build Pruner(method, ..., seed={args.data_seed}), or leave data_seed out",
        )


def _length_of(settings: Any) -> str:
    name = "epochs" if settings.epochs is not None else "steps"
    return f"Pruner({name}={getattr(settings, name)})"


def _of_the_trainer(trainer: Any) -> Iterator[tuple[str, str, str]]:
    args, config = trainer.args, trainer.args.accelerator_config
    strategy = getattr(args, "train_sampling_strategy", "random")
    if strategy not in ("random", "sequential"):
        yield (
            f"train_sampling_strategy={strategy!r}",
            "'random' or 'sequential'",
            "A plan fixes which samples are trained and in which order; leave the strategy out",
        )
    if args.use_liger_kernel:
        yield (
            "use_liger_kernel=True, whose fused loss is one number a batch",
            "logits, from which each sample's own loss is computed",
            "Leave use_liger_kernel out",
        )
    if trainer.compute_loss_func is not None:
        yield (
            "compute_loss_func, which returns one number a batch",
            "one loss a sample",
            "Define per_sample_loss(self, outputs, labels, inputs) in a subclass instead",
        )
    if args.auto_find_batch_size:
        yield (
            "auto_find_batch_size=True, which starts the run again with other batches",
            "the batch size that the plans are cut by",
            "Set per_device_train_batch_size",
        )
    if args.n_gpu > 1:
        yield (
            f"{args.n_gpu} GPUs in one process (DataParallel)",
            "one process a GPU",
            "Start the script with torchrun or accelerate launch",
        )
    yield from _of_the_ranks(trainer, config)


def _of_the_ranks(trainer: Any, config: Any) -> Iterator[tuple[str, str, str]]:
    args = trainer.args
    own = "each rank reading its own part of every global batch"
    if config.dispatch_batches:
        yield (
            "accelerator_config={'dispatch_batches': True}: one rank reads for all",
            own,
            "Leave dispatch_batches out",
        )
    if config.split_batches:
        yield (
            "accelerator_config={'split_batches': True}: a batch is cut in as many parts as ranks",
            own,
            "Leave split_batches out, and divide per_device_train_batch_size by the number of "
            "ranks",
        )
    sizes = {
        name: getattr(trainer, f"get_{name}_size")()
        for name in ("tp", "cp", "sp")
        if hasattr(trainer, f"get_{name}_size")
    }
    if max(sizes.values(), default=1) > 1:
        named = ", ".join(f"{name}_size={size}" for name, size in sizes.items() if size > 1)
        yield (f"Ranks that share their samples ({named})", own, "Use data parallelism alone")
    if args.world_size > 1 and not args.average_tokens_across_devices:
        yield (
            f"average_tokens_across_devices=False on {args.world_size} ranks",
            "a mean over the tokens of all ranks",
            "Leave average_tokens_across_devices out",
        )


def refuse_own_loss(base: type[Any]) -> NoReturn:
    """Say what to do about a Trainer that computes its loss itself."""
    if any(kind.__name__ == "SFTTrainer" for kind in base.__mro__):
        raise SettingError(
            f"{base.__name__} is TRL's, which never makes logits",
            "pruned of thresher.integrations.trl",
            "Write from thresher.integrations.trl import pruned",
        )
    raise SettingError(
        f"{base.__name__} has a compute_loss of its own, which returns one number a batch",
        "one loss a sample",
        "Move it to per_sample_loss(self, outputs, labels, inputs), which returns one loss a "
        "sample, shape (batch,); compute_loss then serves evaluation alone",
    )


def refuse_unplanned_batch(trainer: Any) -> NoReturn:
    """Say that what is trained comes from a loader that is not planned."""
    loader = trainer.callback_handler.train_dataloader
    raise SamplerError(
        f"{type(trainer).__name__} trains on a batch of no plan: it comes from a "
        f"{type(loader).__name__} that took the planned loader's place",
        "the loader that get_train_dataloader of pruned(...) returns",
        "Let a get_train_dataloader of your own be one of the class given to pruned(...), and hand "
        "the loader to nobody who rebuilds it",
    )


def refuse_used(pruner: Pruner) -> NoReturn:
    """Say that a pruner's run is begun already."""
    raise SettingError(
        f"train() was called with a pruner that is in epoch {pruner.epoch} already",
        "a pruner at its beginning",
        "Build a new Pruner and a new trainer, or continue with train(resume_from_checkpoint=...)",
    )
