"""What a run cost, in operations and in seconds: all of it, and nothing twice."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from thresher.bench import costs
from thresher.bench.attention import CharacterGPT
from thresher.bench.costs import flops_of
from thresher.bench.metrics import BITS
from thresher.bench.models import ResNet
from thresher.bench.objectives import NextCharacters
from thresher.bench.run import configure, train
from thresher.bench.suite import Row
from thresher.bench.summary import summarise
from thresher.bench.table import Heading, markdown
from thresher.bench.tasks import Budget, Task, task
from thresher.bench.texts import Sequences, Tokens
from thresher.bench.training import Stopwatch

DIGITS = task("digits")
IMAGES = DIGITS.load(None)
WIDTH, DEPTH, LENGTH, CHARACTERS = 12, 2, 8, 11


def sentences(num: int = 40) -> Tokens:
    text = torch.arange(num * 2).view(-1, 1) + torch.arange(LENGTH + 1)
    text = text % CHARACTERS
    return Tokens(
        train_tokens=text[:num, :-1].to(torch.uint8),
        train_labels=text[:num, 1:],
        test_tokens=text[num:, :-1].to(torch.uint8),
        test_labels=text[num:, 1:],
        texts=("a text",) * num,
    )


def gpt() -> Task:
    return Task(
        name="digits",
        title="counting",
        load=lambda _: sentences(),
        model=CharacterGPT(characters=CHARACTERS, length=LENGTH, width=WIDTH, depth=DEPTH, heads=3),
        budget=Budget(epochs=4, batch_size=8, optimizer="adamw", learning_rate=1e-2),
        inputs=Sequences(),
        objective=NextCharacters(),
    )


def record_of(chosen: Task, data: Any, method: str, ratio: float | None) -> dict[str, Any]:
    one = configure(
        chosen,
        Row(method, ratio),
        data="",
        epochs=4,
        batch_size=8,
        seed=0,
        device="cpu",
        threads=1,
    )
    return train(one, chosen, data, lambda *_: None)


@pytest.mark.usefixtures("unchanged_global_rng")
def test_operations_of_a_transformer_are_those_of_its_products() -> None:
    each = flops_of(gpt(), sentences())
    # Per block and place: three of width² for queries, keys and values, one to mix, eight for the
    # two layers after; per pair of places two products of width; at the end the classes.
    products = DEPTH * 12 * WIDTH**2 * LENGTH + WIDTH * CHARACTERS * LENGTH
    pairs = DEPTH * 2 * LENGTH**2 * WIDTH
    assert each.forward == 2 * (products + pairs)
    # Each product has two in the backward pass: by its input and by its weight.
    assert each.step == 3 * each.forward


def test_operations_of_a_network_of_convolutions_are_those_of_its_kernels() -> None:
    shape = ResNet(channels=1, classes=10, widths=(4,), strides=(1,))
    chosen = Task(
        name="digits",
        title="",
        load=DIGITS.load,
        model=shape,
        budget=DIGITS.budget,
        inputs=DIGITS.inputs,
    )
    each = flops_of(chosen, IMAGES)
    stem, block, head = 64 * 9 * 4, 2 * 64 * 9 * 4 * 4, 4 * 10
    assert each.forward == 2 * (stem + block + head)
    # Nobody asks for the gradient of the pixels.
    assert each.step == 2 * (2 * stem + 3 * (block + head))


def test_operations_are_counted_once_a_model_and_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = flops_of(DIGITS, IMAGES)
    monkeypatch.setattr(costs, "FlopCounterMode", None)
    assert flops_of(DIGITS, IMAGES.head(10, 10)) == expected  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("method", "ratio"),
    [
        *[("full", None), ("random", 0.5), ("selective-backprop", 0.5), ("el2n", 0.5)],
        *[("fewer-epochs", 0.5), ("kakurenbo", 0.3)],
    ],
)
def test_all_operations_are_in_the_record(method: str, ratio: float | None) -> None:
    data = IMAGES.head(100, 20)
    record = record_of(DIGITS, data, method, ratio)
    flops, each = record["flops"], flops_of(DIGITS, data)
    assert flops["training"] == record["samples_trained"] * each.step
    assert flops["scoring"] == record["extra_forwards"] * each.forward
    assert flops["reference"] == record.get("reference_samples", 0) * each.step
    assert flops["total"] == flops["training"] + flops["scoring"] + flops["reference"]
    assert flops["full"] == 400 * each.step
    assert flops["ratio"] == flops["total"] / flops["full"]
    if method in ("full", "random", "fewer-epochs"):
        assert flops["ratio"] == 1 - (ratio or 0.0)
    else:
        assert flops["ratio"] > record["samples_trained"] / 400


@pytest.mark.parametrize(("method", "is_scored"), [("selective-backprop", True), ("repb", False)])
def test_parts_of_the_time_are_parts_of_it(method: str, is_scored: bool) -> None:
    record = record_of(DIGITS, IMAGES.head(100, 20), method, 0.5)
    seconds = record["seconds"]
    parts = ("data", "planning", "closing", "gathering", "waiting")
    assert 0 < sum(seconds[part] for part in parts) < seconds["training"]
    assert (seconds["scoring"] > 0) == is_scored
    assert seconds["scoring"] <= seconds["planning"] + 1e-4
    assert seconds["total"] == pytest.approx(seconds["training"] + seconds["evaluation"])


def test_a_stopwatch_stands_still_while_others_work(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("thresher.bench.training.time.perf_counter", lambda: now[0])

    def items() -> Any:
        for number in range(3):
            now[0] += 1.0
            yield number

    watch, seen = Stopwatch(), []
    for item in watch.each(items()):
        now[0] += 10.0
        seen.append(item)
    assert seen == [0, 1, 2]
    assert watch.seconds == 3.0

    def work(seconds: float) -> float:
        now[0] += seconds
        return -seconds

    assert watch.timed(work)(2.0) == -2.0
    assert watch.seconds == 5.0


def test_less_is_better_reads_right_in_the_table() -> None:
    chosen, data = gpt(), sentences()
    records = {
        row: {0: record_of(chosen, data, row.method, row.prune_ratio)}
        for row in (Row("full"), Row("random", 0.9))
    }
    full, pruned = (runs[0]["metric"] for runs in records.values())
    assert pruned > full, "a tenth of the steps cannot be as good"
    lines = summarise(records, BITS.margin)
    assert lines[1].difference is not None
    assert lines[1].difference.mean == pytest.approx(full - pruned)
    heading = Heading(title="t", num_seeds=1, margin=0.02, notes=[], command="c", metric=BITS)
    page = markdown(lines, heading)
    assert "| FLOPs | time |" in page
    assert "| bits per character |" in page
    assert f"| {pruned:.3f} | −{pruned - full:.3f} |" in page
    assert "difference in bits (less is better, and plus means better)" in page
