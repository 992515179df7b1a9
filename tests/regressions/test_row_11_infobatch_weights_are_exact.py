"""Published InfoBatch keeps ⌊(1 - r) m⌋ of m easy samples and weights them by 1 / (1 - r).

The true weight is m / ⌊(1 - r) m⌋. A single easy sample is always dropped, a keep share below 0.1
is raised to 0.1 without a word, and an unseen sample's score of 3 makes it easy where losses are
larger.
"""

from __future__ import annotations

import math

import pytest
import torch

from contracts.drive import ByHand
from thresher import InfoBatch
from thresher.draws import Draws
from thresher.plan import Selection


def selected(r: float, loss: list[float], seed: int = 0) -> Selection:
    hand = ByHand(InfoBatch(r=r), torch.zeros(1, len(loss)), lambda epoch: Draws(seed, epoch))
    hand.ledger["loss"].copy_(torch.tensor(loss))
    return hand.select()


@pytest.mark.parametrize("num_easy", range(1, 30))
@pytest.mark.parametrize("r", [0.1, 0.3, 0.5, 0.75, 0.9, 0.97])
def test_infobatch_weights_are_exact(r: float, num_easy: int) -> None:
    selection = selected(r, [1.0] * num_easy + [100.0] * 3)
    kept = max(1, math.floor(round((1 - r) * num_easy, 9)))
    assert selection.weights is not None
    easy, weights = selection.kept[:num_easy], selection.weights[:num_easy]
    assert int(easy.sum()) == kept
    assert weights[easy].tolist() == pytest.approx([num_easy / kept] * kept, rel=1e-7)
    assert float(selection.weights[selection.kept].double().sum()) == pytest.approx(
        num_easy + 3, rel=1e-7
    )
    assert bool(selection.kept[num_easy:].all())
    assert selection.weights[num_easy:].tolist() == [1.0] * 3


def test_a_single_easy_sample_stays() -> None:
    for seed in range(20):
        assert selected(0.5, [1.0, 5.0, 5.0], seed).kept.tolist() == [True] * 3


def test_a_large_r_is_taken_at_its_word() -> None:
    assert int(selected(0.98, [1.0] * 100 + [1000.0]).kept.sum()) == 3


def test_an_unseen_sample_is_not_easy_where_losses_are_large() -> None:
    """A thousand classes start at a loss of 6.9; a language model higher still."""
    nan = math.nan
    for seed in range(20):
        selection = selected(0.9, [6.8, 6.9, 7.0, 9.0, nan, nan, nan], seed)
        assert selection.kept[4:].tolist() == [True] * 3
        assert selection.weights is not None
        assert selection.weights[4:].tolist() == [1.0] * 3
