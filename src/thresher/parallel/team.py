"""The ranks of a run: who they are, how plans are dealt out to them, and what they have sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn, final

from thresher.errors import CheckpointError, SettingError
from thresher.grid import Grid
from thresher.parallel.exchange import Exchange
from thresher.parallel.ranks import Ranks
from thresher.parallel.sharded import Sharded
from thresher.parallel.transport import Distributed
from thresher.population import EVERYONE, Population


@final
class Team:
    """Found when the loader is wrapped, or the first plan is made; until then nobody is asked.

    Args:
        about: what the runs of all ranks must have in common.
        shards: whether each rank remembers a shard of the samples, and not all of them.

    Attributes:
        ranks: who takes part; None while that is not known.
        grid: how the wrapped loader cuts plans; None below the loop.
        exchange: to the other ranks, if there are any.
        population: all samples, and which of them this rank remembers.
    """

    def __init__(self, about: Mapping[str, int | str], *, shards: bool = False) -> None:
        self.ranks: Ranks | None = None
        self.grid: Grid | None = None
        self.exchange: Exchange | None = None
        self.population: Population = EVERYONE
        self._about = about
        self._wants_shards = shards
        self._counted: list[Exchange | Distributed] = []
        self._bytes_before = 0
        self._seconds_before = 0.0
        self._loaded: dict[str, Any] | None = None
        self._resplit = False

    def join(self, grid: Grid | None, *, is_begun: bool) -> bool:
        """Find the ranks, whose loaders cut plans by `grid`; return whether that is news.

        Raises:
            SettingError: it is, and `is_begun`: a part of the epoch was trained already.
        """
        ranks = Ranks.found()
        if (ranks, grid) == (self.ranks, self.grid):
            return False
        if is_begun and (ranks.are_many or self.are_many):
            raise SettingError(
                "The loader was wrapped after batches of the epoch in progress were trained, on "
                f"{ranks}",
                "pruner.wrap before the first batch, once or always with the same batch size",
                "Which rank trains which samples is fixed then",
            )
        if ranks != self.ranks:
            self._meet(ranks)
        self.ranks, self.grid = ranks, grid
        return True

    def _meet(self, ranks: Ranks) -> None:
        if self._wants_shards and self.ranks is not None:
            self._refuse_others(ranks)
        self.exchange = Exchange(ranks, self._about) if ranks.are_many else None
        self._counted = [] if self.exchange is None else [self.exchange]
        if self._wants_shards and self.exchange is not None:
            transport = Distributed()
            self.population = Sharded(transport)
            self._counted.append(transport)

    @property
    def has_shards(self) -> bool:
        """Whether each rank remembers a shard, so that they can plan only together."""
        return self.population.shard.count > 1

    @property
    def are_many(self) -> bool:
        """Whether there are other ranks."""
        return self.exchange is not None

    def begin_training(self) -> None:
        """Forget how a loaded epoch was cut; from here on it is as it is now.

        Raises:
            SettingError: `torch.distributed` was started, or stopped, in the meantime, so that
                every rank would train everything.
        """
        now = Ranks.found()
        if now != self.ranks:
            self._refuse_others(now)
        self._loaded = None

    def _refuse_others(self, now: Ranks) -> NoReturn:
        raise SettingError(
            f"This process is {now} for torch.distributed",
            f"{self.ranks}, as when the run found out which part of the data is its own",
            "Call torch.distributed.init_process_group before pruner.wrap and pruner.plan",
        )

    def sent(self) -> tuple[int, float]:
        """Return the bytes this rank sent, and the seconds that took, since `start_epoch`."""
        sent, seconds = self._sent_ever()
        return sent - self._bytes_before, seconds - self._seconds_before

    def start_epoch(self) -> None:
        """Count what is sent from here on."""
        self._bytes_before, self._seconds_before = self._sent_ever()

    def _sent_ever(self) -> tuple[int, float]:
        ends = self._counted
        return sum(end.bytes_sent for end in ends), sum((end.seconds for end in ends), 0.0)

    def state_dict(self, *, is_whole: bool) -> dict[str, Any]:
        """Return how epochs are dealt out.

        Args:
            is_whole: whether the state this is a part of has what all ranks trained.
        """
        grid = self.grid
        if grid is None and self._loaded is not None:
            return dict(self._loaded)
        return {
            "world_size": self.ranks.world_size if self.ranks else 1,
            "global_batch_size": grid.global_size if grid else 0,
            "drops_remainder": grid.drops_remainder if grid else False,
            "is_whole": is_whole,
        }

    def load_state_dict(self, state: Mapping[str, Any], *, resplit: bool) -> None:
        """Take note of how the loaded epoch was dealt out, and whether that may change."""
        self._loaded, self._resplit = dict(state), resplit

    @property
    def is_of_others(self) -> bool:
        """Whether the loaded epoch was planned on other shards than there are now."""
        assert self.ranks is not None
        saved = self._loaded
        return (
            saved is not None
            and self._wants_shards
            and (saved["world_size"] != self.ranks.world_size)
        )

    def require_same_batches(self, grid: Grid) -> None:
        """Refuse to cut the rest of a loaded epoch in another way than it was begun.

        Raises:
            CheckpointError: the batches to come would not be those of the saved run.
        """
        saved = self._loaded
        if saved is None or self._resplit or not saved["global_batch_size"]:
            return
        size, world = saved["global_batch_size"], saved["world_size"]
        by_rank = grid.drops_remainder or saved["drops_remainder"] or self._wants_shards
        if size == grid.global_size and (not by_rank or world == grid.world_size):
            return
        raise CheckpointError(
            f"The state is of the middle of an epoch that was cut into batches of {size} samples "
            f"over {world} rank{'s' * (world > 1)}"
            f"{', without the remainder' * saved['drops_remainder']}",
            f"batches of {grid.global_size} over {grid.world_size}, as this run has",
            "Build the loader so that batch size times ranks stays, or let what is left be cut "
            "anew: pruner.load_state_dict(state, resplit=True)",
        )


def require_whole(saved: Mapping[str, Any]) -> None:
    """Refuse the state of one rank alone.

    Raises:
        CheckpointError: it lacks what the other ranks have trained.
    """
    if not saved["is_whole"]:
        raise CheckpointError(
            f"The state holds what one of {saved['world_size']} ranks has trained of an epoch",
            "what all of them have",
            "In the middle of an epoch call pruner.state_dict(gather=True) on every rank; "
            "to continue now, use a state from the end of an epoch",
        )
