"""From a batch's losses or logits to one score a sample.

Scores stay on the device they came from, and nothing here makes the host wait for a GPU.
"""

from thresher.scores.autograd import logit_grad_norm_autograd
from thresher.scores.cross_entropy import logit_grad_norm
from thresher.scores.means import per_sample

__all__ = ["logit_grad_norm", "logit_grad_norm_autograd", "per_sample"]
