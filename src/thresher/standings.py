"""Where each rank stands in the stream of candidates, told to all, and in a saved state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, replace
from typing import Any, final

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from thresher.accounting import Row
from thresher.errors import CheckpointError
from thresher.outline import Outline
from thresher.parallel.exchange import Exchange
from thresher.stream import Standing
from thresher.tally import Tally


@final
class Others:
    """What one rank of an online epoch knows of the others; it is complete if there are none.

    Args:
        exchange: to them, if there are any.
    """

    def __init__(self, exchange: Exchange | None) -> None:
        self.world_size = 1 if exchange is None else exchange.ranks.world_size
        self._exchange = exchange
        self._has_agreed = False
        self._before = Tally()  # of all ranks, when a checkpoint was loaded
        self._standings: list[Standing] = []
        self._tally = Tally()
        self._at = 0

    def agree(self, common: Mapping[str, int]) -> None:
        """Make sure, once, that all ranks are about to train the same epoch."""
        if self._exchange is not None and not self._has_agreed:
            self._exchange.agree("opening an epoch", common)
        self._has_agreed = True

    def known(self, now: int) -> bool:
        """Return whether it is known what all ranks have done in `now` micro-batches."""
        return self._exchange is None or (self._at == now and bool(self._standings))

    def gather(self, standing: Standing, tally: Tally, same: Mapping[str, int]) -> None:
        """Get to know where all ranks stand, and what they have trained in this epoch.

        Cost: the ids that wait, what the method remembers, and a few numbers.
        """
        assert self._exchange is not None
        self._standings = _gathered(self._exchange, standing, same)
        counts = self._exchange.gather(np.array(astuple(tally), dtype=np.float64))
        self._tally, self._at = _total(counts), same["batches trained"]
        self._tally.join(self._before)

    def total(self, now: int, own: Tally, forwards: int) -> tuple[Tally, int]:
        """Return what all ranks have trained and scored; the others as much, if it is not known."""
        if self._exchange is not None and self.known(now):
            return self._tally, sum(standing.forwards for standing in self._standings)
        tally = own.times(self.world_size)
        tally.join(self._before)
        return tally, forwards * self.world_size

    def row(self, outline: Outline, now: int, own: Tally, forwards: int) -> Row:
        """Return the numbers of an epoch, as `total` has them."""
        tally, forwards = self.total(now, own, forwards)
        # Batches vary in size; of those to come only the usual one is known.
        due = len(outline) - tally.num_reduced * outline.batch_size
        return Row(
            epoch=outline.epoch,
            planned=tally.trained + max(0, due),
            trained=tally.trained,
            skipped_batches=0,
            non_finite=tally.non_finite,
            weight_mean=outline.scale * tally.weights / max(1, tally.trained),
            weight_max=outline.scale * tally.largest,
            effective_samples=tally.weights**2 / (tally.squares or 1.0),
            asked=outline.facts.get("target", float("nan")),
            extra_forwards=forwards,
            passed=tally.passed,
            planning_seconds=0.0,
            closing_seconds=0.0,
        )

    def first(self, now: int, own: Standing) -> Standing:
        """Return where the first rank stands, if that is known; else where this one does."""
        return self._standings[0] if self._standings and self.known(now) else own

    def state_dict(self, now: int) -> dict[str, Any]:
        """Return where each rank stands, with a row for each; ids that wait are filled up by -1."""
        if not self._standings or not self.known(now):
            return {}
        standings = self._standings
        queues = [torch.from_numpy(standing.queue) for standing in standings]
        return {
            "cursor": torch.tensor([standing.cursor for standing in standings], device="cpu"),
            "forwards": torch.tensor([standing.forwards for standing in standings], device="cpu"),
            "begun": torch.tensor([standing.begun for standing in standings], device="cpu"),
            "queue": pad_sequence(queues, batch_first=True, padding_value=-1),
            "memory": {
                name: torch.stack([standing.memory[name] for standing in standings])
                for name in standings[0].memory
            },
        }

    def load_state_dict(self, state: Mapping[str, Any], alone: Standing) -> Standing:
        """Restore what was known, and return where this rank stood.

        Args:
            state: of an epoch in progress, `state_dict` being its "standings".
            alone: where a run of one rank stood.

        Raises:
            CheckpointError: the state is of another number of ranks.
        """
        saved = state["standings"]
        size = len(saved["cursor"]) if saved else 1
        if size != self.world_size:
            raise CheckpointError(
                f"The state is of {size} rank{'s' * (size > 1)}, each with candidates of its own",
                f"{self.world_size}, as there are now",
                "An online method continues on as many ranks as it was saved on",
            )
        if self._exchange is None:
            return replace(alone, forwards=state["forwards"])
        self._before = Tally(**state["tally"])
        self._standings = [_row_of(saved, rank) for rank in range(size)]
        self._tally, self._at = replace(self._before), state["micro_batches"]
        return self._standings[self._exchange.ranks.rank]


def _gathered(exchange: Exchange, standing: Standing, same: Mapping[str, int]) -> list[Standing]:
    told = exchange.agree(
        "gathering what ranks remember",
        same,
        {
            "cursor": standing.cursor,
            "waiting": len(standing.queue),
            "forwards": standing.forwards,
            "begun": standing.begun,
        },
    )
    queue = np.full(int(told["waiting"].max()), -1, dtype=np.int64)
    queue[: len(standing.queue)] = standing.queue
    table = {
        "cursor": torch.from_numpy(told["cursor"]),
        "forwards": torch.from_numpy(told["forwards"]),
        "begun": torch.from_numpy(told["begun"]),
        "queue": torch.from_numpy(exchange.gather(queue)),
        "memory": {
            name: torch.from_numpy(exchange.gather(vector.numpy()))
            for name, vector in standing.memory.items()
        },
    }
    return [_row_of(table, rank) for rank in range(exchange.ranks.world_size)]


def _row_of(table: Mapping[str, Any], rank: int) -> Standing:
    queue = table["queue"][rank].numpy()
    return Standing(
        cursor=int(table["cursor"][rank]),
        queue=queue[queue >= 0],
        memory={name: rows[rank].clone() for name, rows in table["memory"].items()},
        forwards=int(table["forwards"][rank]),
        begun=int(table["begun"][rank]) if "begun" in table else 0,
    )


def _total(counts: np.ndarray) -> Tally:
    batches, trained, broken = (int(count) for count in counts[:, :3].sum(0))
    weights, squares = counts[:, 3:5].sum(0).tolist()
    return Tally(
        num_reduced=batches,
        trained=trained,
        non_finite=broken,
        weights=weights,
        squares=squares,
        largest=float(counts[:, 5].max()),
        passed=int(counts[:, 6].sum()),
    )
