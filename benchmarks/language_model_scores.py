"""What scoring documents adds to a training step of a language model of 135 million parameters.

    python benchmarks/language_model_scores.py                        # SmolLM2-135M's vocabulary
    python benchmarks/language_model_scores.py --vocabulary 128256

Needs transformers. Weights are random, which times do not know. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from parts.common import Line, environment, show, write
from torch import Tensor

import thresher

_RESULTS = Path(__file__).parent / "results"
_BOUND = 0.05  # of the step


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vocabulary", type=int, default=49_152)
    parser.add_argument("--documents", type=int, default=4, help="in a batch")
    parser.add_argument("--length", type=int, default=256, help="of a document, in tokens")
    parser.add_argument("--rounds", type=int, default=3, help="a step of each kind is a round")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


class Training:
    """Steps of one model, with three kinds of loss that take turns."""

    def __init__(self, vocabulary: int, documents: int, length: int) -> None:
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            tie_word_embeddings=True,
            use_cache=False,
        )
        self.model: Any = LlamaForCausalLM(config).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5)
        self.tokens = torch.randint(vocabulary, (documents, length))
        method = thresher.Omission(prune_ratio=0.5)
        self.pruner = thresher.Pruner(method, epochs=10, num_samples=1024 * documents)
        self._ids = iter(self.pruner.plan(0).ids.split(documents))

    def plain(self) -> dict[str, float]:
        """One step on the model's own loss: the mean over the batch's tokens."""
        return self._step(lambda: self.model(self.tokens, labels=self.tokens).loss)

    def scored(self) -> dict[str, float]:
        """One step on `token_scores`, which is the loss and scores every document."""

        def loss() -> Tensor:
            tokens = thresher.scores.token_scores(self.model(self.tokens).logits, self.tokens)
            norms = tokens.logit_grad_norm()
            return self.pruner.reduce(tokens.loss(), scores=norms, ids=next(self._ids))

        return self._step(loss)

    def beside(self) -> dict[str, float]:
        """One step on the model's own loss; documents are scored beside it."""
        seconds: dict[str, float] = {}

        def loss() -> Tensor:
            found = self.model(self.tokens, labels=self.tokens)
            start = time.process_time()
            with torch.no_grad():
                tokens = thresher.scores.token_scores(found.logits, self.tokens)
                scores = tokens.loss(), tokens.logit_grad_norm()
            seconds["scores"] = time.process_time() - start
            log_probs = -tokens.losses
            start = time.process_time()
            fused = thresher.scores.token_scores_from_log_probs(log_probs, tokens.mask)
            scores = fused.loss(), thresher.scores.target_grad_norm(log_probs, tokens.mask)
            seconds["scores from log-probabilities"] = time.process_time() - start
            assert all(score.isfinite().all() for score in scores)
            return found.loss

        seconds |= self._step(loss)
        seconds["step"] -= seconds["scores"] + seconds["scores from log-probabilities"]
        return seconds

    def _step(self, loss: Any) -> dict[str, float]:
        start = time.process_time()
        loss().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return {"step": time.process_time() - start}


def measure(training: Training, rounds: int) -> list[Line]:
    """Return the shares, the median of those of each round."""
    training.plain()  # the optimizer makes its state
    ratios: dict[str, list[float]] = {}
    steps: dict[str, list[float]] = {"plain": [], "scored": []}
    for _ in range(rounds):
        plain, scored, beside = training.plain(), training.scored(), training.beside()
        steps["plain"].append(plain["step"])
        steps["scored"].append(scored["step"])
        for name in ("scores", "scores from log-probabilities"):
            ratios.setdefault(name, []).append(beside[name] / beside["step"])
        ratios.setdefault("trained on token_scores", []).append(
            scored["step"] / plain["step"] - 1.0
        )
    cases = {
        "scores": "loss and norm beside the model's own loss",
        "trained on token_scores": "loss and norm instead of the model's own loss",
        "scores from log-probabilities": "loss and bound from log-probabilities",
    }
    seconds = {f"{name} step, s": statistics.median(found) for name, found in steps.items()}
    return [
        Line(
            "8 language model",
            case,
            statistics.median(ratios[name]),
            "of the step",
            _BOUND,
            more={"least": min(ratios[name]), "most": max(ratios[name]), **seconds},
        )
        for name, case in cases.items()
    ]


def main() -> None:
    """Measure at one size of the vocabulary."""
    torch.set_num_threads(1)
    given = _arguments()
    before = environment()
    training = Training(given.vocabulary, given.documents, given.length)
    parameters = sum(part.numel() for part in training.model.parameters())
    lines = measure(training, given.rounds)
    show(
        f"8. Scores of a language model of {parameters / 1e6:.0f} million parameters, "
        f"{given.documents} documents of {given.length} tokens, vocabulary {given.vocabulary}",
        lines,
    )
    settings = {key: str(value) for key, value in vars(given).items() if key != "out"}
    out = given.out or _RESULTS / f"language-model-scores-{given.vocabulary}.json"
    write(out, lines, before, settings | {"parameters": str(parameters)})


if __name__ == "__main__":
    main()
