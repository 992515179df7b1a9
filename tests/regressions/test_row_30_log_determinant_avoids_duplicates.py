"""DeepCore's log-determinant leaves the candidate's own term and the sign out of its gain.

It picks 8 of 8 from a cluster of duplicates, of which the true gain log(s_xx − s_xS S⁻¹ s_Sx) picks
one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from static.dense import cosines
from thresher.static import Collected, LogDeterminant

COPIES = 8


def clustered() -> Collected:
    """Eight samples that are alike up to a thousandth, then eight that are not."""
    generator = torch.Generator().manual_seed(0)
    one = torch.rand(1, 12, generator=generator)
    others = torch.rand(COPIES, 12, generator=generator)
    alike = one + 1e-3 * torch.randn(COPIES, 12, generator=generator)
    logits = torch.randn(COPIES, 3, generator=generator)
    return Collected(
        labels=torch.tensor([0] * COPIES + [i % 3 for i in range(COPIES)]),
        num_classes=3,
        features=torch.cat([alike, others]),
        probabilities=torch.cat([logits[:1].expand(COPIES, 3), logits]).softmax(1),
    )


def greedy(s: Tensor, first: int, *, published: bool) -> list[int]:
    """The gain of each candidate by a solve; as published, without s_xx and with the wrong sign.

    All first gains are equal, log 1: `first` is given.
    """
    chosen = [first]
    for _ in range(COPIES - 1):
        inverse = torch.linalg.inv(s[chosen][:, chosen] + 1e-9 * torch.eye(len(chosen)))
        explained = (s[:, chosen] @ inverse * s[:, chosen]).sum(1)
        gains = explained if published else s.diagonal() - explained
        gains[chosen] = -torch.inf
        chosen.append(int(gains.argmax()))
    return chosen


def test_the_fault_shows() -> None:
    chosen = greedy(cosines(clustered()), 0, published=True)
    assert set(chosen) == set(range(COPIES))


def test_one_of_the_duplicates_is_chosen() -> None:
    data = clustered()
    ids = LogDeterminant().select(data, prune_ratio=0.5)[0].tolist()
    assert sum(i < COPIES for i in ids) == 1
    assert ids == greedy(cosines(data), ids[0], published=False)


def test_the_chosen_span_more_than_the_duplicates() -> None:
    s = cosines(clustered())
    ids = LogDeterminant().select(clustered(), prune_ratio=0.5)[0]
    volume = torch.logdet(s[ids][:, ids])
    assert float(volume) > float(torch.logdet(s[:COPIES, :COPIES])) + 10
