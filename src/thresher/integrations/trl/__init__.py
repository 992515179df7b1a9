"""Pruning inside TRL: `PrunedTrainer = pruned(SFTTrainer)`.

TRL is imported when `pruned` is called; `pip install "thresher[trl]"` brings it.
"""

from thresher.integrations.trl._sft import pruned

__all__ = ["pruned"]
