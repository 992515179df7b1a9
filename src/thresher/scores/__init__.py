"""From a batch's losses or logits to one score a sample.

Scores stay on the device they came from, and nothing here makes the host wait for a GPU.
"""

from thresher.scores.autograd import logit_grad_norm_autograd
from thresher.scores.classification import (
    confidence,
    correct,
    el2n,
    entropy,
    least_confidence,
    margin,
    named,
)
from thresher.scores.cross_entropy import logit_grad_norm
from thresher.scores.documents import Documents
from thresher.scores.language_model import token_scores, token_scores_from_hidden
from thresher.scores.log_probs import target_grad_norm, token_scores_from_log_probs
from thresher.scores.means import per_sample
from thresher.scores.scoring import scoring
from thresher.scores.tokens import TokenScores

__all__ = [
    "Documents",
    "TokenScores",
    "confidence",
    "correct",
    "el2n",
    "entropy",
    "least_confidence",
    "logit_grad_norm",
    "logit_grad_norm_autograd",
    "margin",
    "named",
    "per_sample",
    "scoring",
    "target_grad_norm",
    "token_scores",
    "token_scores_from_hidden",
    "token_scores_from_log_probs",
]
