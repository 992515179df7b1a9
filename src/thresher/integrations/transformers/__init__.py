"""Pruning inside the Hugging Face Trainer: `PrunedTrainer = pruned(Trainer)`.

transformers is imported when `pruned` is called; `pip install "thresher[hf]"` brings it.
"""

from thresher.integrations.transformers._trainer import pruned

__all__ = ["pruned"]
