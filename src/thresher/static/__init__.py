"""Methods that choose once: from what a reference model says, a fixed subset with weights."""

from thresher.static._method import ScoreMethod, SetMethod, StaticMethod
from thresher.static.collect import collect
from thresher.static.collected import Collected
from thresher.static.recorder import TrainingRecorder

__all__ = [
    "Collected",
    "ScoreMethod",
    "SetMethod",
    "StaticMethod",
    "TrainingRecorder",
    "collect",
]
