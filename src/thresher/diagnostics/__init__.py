"""What pruning does: to the gradient, to who is trained, and to what a run will save.

- `gradient_fidelity`, `compare_fidelity`: bias, variance and direction of the weighted gradient
  against the full one, over plans that `redraw` draws again from one state.
- `overlap`: how alike successive selections are.
- `visits`: how evenly samples are trained.
- `SampleRecorder`: how often each was trained, and which labels its losses make suspicious.
- `forecast`: what a run would save, before it is started.
"""

from thresher.diagnostics.estimate import Estimate
from thresher.diagnostics.fidelity import Fidelity, compare_fidelity, gradient_fidelity
from thresher.diagnostics.forecast import Forecast, forecast
from thresher.diagnostics.overlap import Overlap, overlap
from thresher.diagnostics.per_sample import gradient_sums
from thresher.diagnostics.redraw import ledger_of, redraw
from thresher.diagnostics.samples import SampleRecorder
from thresher.diagnostics.visits import Visits, visits

__all__ = [
    "Estimate",
    "Fidelity",
    "Forecast",
    "Overlap",
    "SampleRecorder",
    "Visits",
    "compare_fidelity",
    "forecast",
    "gradient_fidelity",
    "gradient_sums",
    "ledger_of",
    "overlap",
    "redraw",
    "visits",
]
