"""The ranks of a run: who they are, how plans are dealt out to them, and what they have sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from thresher.errors import CheckpointError, SettingError
from thresher.grid import Grid
from thresher.parallel.exchange import Exchange
from thresher.parallel.ranks import Ranks


@final
class Team:
    """Found when the loader is wrapped, or the first plan is made; until then nobody is asked.

    Args:
        about: what the runs of all ranks must have in common.

    Attributes:
        ranks: who takes part; None while that is not known.
        grid: how the wrapped loader cuts plans; None below the loop.
        exchange: to the other ranks, if there are any.
    """

    def __init__(self, about: Mapping[str, int | str]) -> None:
        self.ranks: Ranks | None = None
        self.grid: Grid | None = None
        self.exchange: Exchange | None = None
        self._about = about
        self._bytes_before = 0
        self._seconds_before = 0.0

    def join(self, ranks: Ranks, grid: Grid | None) -> None:
        """Let the run be one of these ranks, whose loaders cut plans so."""
        if ranks != self.ranks:
            self.exchange = Exchange(ranks, self._about) if ranks.are_many else None
        self.ranks, self.grid = ranks, grid

    @property
    def are_many(self) -> bool:
        """Whether there are other ranks."""
        return self.exchange is not None

    def require_unchanged(self) -> None:
        """Refuse to train if `torch.distributed` was started, or stopped, in the meantime.

        Raises:
            SettingError: every rank would train everything.
        """
        now = Ranks.found()
        if now != self.ranks:
            raise SettingError(
                f"torch.distributed says {now}",
                f"{self.ranks}, as when the run found out which part of the data is its own",
                "Call torch.distributed.init_process_group before pruner.wrap and pruner.plan",
            )

    def sent(self) -> tuple[int, float]:
        """Return the bytes this rank sent, and the seconds that took, since `start_epoch`."""
        if self.exchange is None:
            return 0, 0.0
        sent, seconds = self.exchange.bytes_sent, self.exchange.seconds
        return sent - self._bytes_before, seconds - self._seconds_before

    def start_epoch(self) -> None:
        """Count what is sent from here on."""
        if self.exchange is not None:
            self._bytes_before = self.exchange.bytes_sent
            self._seconds_before = self.exchange.seconds

    def dropped(self, planned: int) -> int:
        """Return how many of so many planned samples no rank trains."""
        return 0 if self.grid is None else planned - self.grid.covered(planned)

    def state(self, *, is_whole: bool) -> dict[str, Any]:
        """Return what a checkpoint has to know.

        Args:
            is_whole: whether the state has what all ranks trained.
        """
        grid = self.grid
        return {
            "world_size": self.ranks.world_size if self.ranks else 1,
            "global_batch_size": grid.global_size if grid else 0,
            "drops_remainder": grid.drops_remainder if grid else False,
            "is_whole": is_whole,
        }

    def require_same_batches(self, saved: Mapping[str, Any]) -> None:
        """Refuse to cut the rest of an epoch in another way than it was begun.

        Raises:
            CheckpointError: the batches to come would not be those that the saved run had before
                it.
        """
        grid = self.grid
        if grid is None or not saved["global_batch_size"]:
            return
        size, world = saved["global_batch_size"], saved["world_size"]
        same_size = size == grid.global_size
        drops = grid.drops_remainder or saved["drops_remainder"]
        if same_size and (not drops or world == grid.world_size):
            return
        what = f"batches of {size} samples over {world} rank{'s' * (world > 1)}"
        raise CheckpointError(
            f"The state is of the middle of an epoch that was cut into {what}"
            + (", without the remainder" if saved["drops_remainder"] else ""),
            f"batches of {grid.global_size} over {grid.world_size}, as this run has",
            "Build the loader with a batch size that keeps batch size times ranks, or let what is "
            "left be cut anew: pruner.load_state_dict(state, resplit=True)",
        )


def require_alone(before: Ranks | None, now: Ranks) -> None:
    """Refuse to deal an epoch out anew after a part of it was trained.

    Raises:
        SettingError: there are, or were, several ranks.
    """
    if now.are_many or (before is not None and before.are_many):
        raise SettingError(
            "The loader was wrapped after batches of the epoch in progress were trained, on "
            f"{now.world_size} rank{'s' * now.are_many}",
            "pruner.wrap before the first batch, once or always with the same batch size",
            "Which rank trains which samples is fixed then",
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
