"""Every mistake Thresher refuses, each with what came, what was expected and what to do."""


class ThresherWarning(UserWarning):
    """Something that training survives, but that its owner should know."""


class ThresherError(Exception):
    """The family of all refusals.

    Args:
        came: what was given.
        expected: what was expected instead.
        cure: what to do about it.

    Example:
        >>> print(ScalarLossError("The loss is a scalar", "one loss a sample", "Pass 'none'"))
        The loss is a scalar; expected: one loss a sample. Pass 'none'.
    """

    def __init__(self, came: str, expected: str = "", cure: str = "") -> None:
        super().__init__(came, expected, cure)
        self.came, self.expected, self.cure = came, expected, cure

    def __str__(self) -> str:
        first = f"{self.came}; expected: {self.expected}" if self.expected else self.came
        return ". ".join(part.rstrip(".") for part in (first, self.cure) if part) + "."


class SettingError(ThresherError, ValueError):
    """A setting that no run can use, such as a ratio outside [0, 1)."""


class IterableDatasetError(ThresherError, TypeError):
    """An iterable data set, which has no sample ids, met a method that needs them."""


class SamplerError(ThresherError, TypeError):
    """The loader's sampler cannot be taken over by plans."""


class AlreadyWrappedError(ThresherError):
    """The loader already yields plans."""


class LoaderReplacedError(ThresherError):
    """A framework rebuilt the wrapped loader, or put it or its sampler into one of its own."""


class DatasetChangedError(ThresherError):
    """The data set has another length than the one the ledger was made for."""


class NotIteratedError(ThresherError):
    """A loss was reduced while no batch of a wrapped loader was in hand."""


class ReadAheadError(ThresherError):
    """The loop fetches batches before it trains earlier ones, so a loss has no certain batch."""


class ReducedTwiceError(ThresherError):
    """One batch's losses were reduced a second time."""


class StaleBatchError(ThresherError):
    """The batch belongs to a plan that has been dropped or to an epoch that is closed."""


class ScalarLossError(ThresherError, ValueError):
    """A loss that is already averaged cannot be scored or weighted."""


class BatchMismatchError(ThresherError, ValueError):
    """The losses, scores and ids of a batch do not have the same length."""


class MissingScoreError(ThresherError, ValueError):
    """The method needs a score that the loop did not give."""


class AllLossesNaNError(ThresherError, ArithmeticError):
    """Not one loss is a number: training has diverged."""


class UnplannedIdError(ThresherError, KeyError):
    """A sample was scored that the epoch's plan does not hold."""

    # KeyError would print the repr of its arguments.
    __str__ = ThresherError.__str__


class EpochError(ThresherError, ValueError):
    """A plan was asked of an epoch that is neither the current nor the next one."""


class EmptyEpochError(ThresherError):
    """The plan holds too few samples for a single batch."""


class CheckpointError(ThresherError):
    """A saved state that this pruner cannot continue from, or no place to save one."""


class RanksDisagreeError(ThresherError):
    """The ranks of a distributed run do not train by the same plans; raised on every one."""
