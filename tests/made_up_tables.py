"""Tables of made-up differences, their pictures, and what is where in those."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.text import Text

from thresher.bench.catalogue import METHODS, has_step_length
from thresher.bench.figure import drawn
from thresher.bench.statistics import Difference
from thresher.bench.suite import Row
from thresher.bench.summary import FULL, Line

FULL_MEAN = 91.0
FEW = ["random", "fewer-epochs", "infobatch", "repb", "orderdp", "omission", "kakurenbo"]
MANY = [name for name in METHODS if name != "full"][:20]
LONG = [f"repb(window={2**k},score=logit_grad_norm,rescale=false)" for k in range(4)]


def line(row: Row, difference: float, rate: float | None = None, width: float = 0.1) -> Line:
    """A line whose three seeds differ from full by the difference and `width` to both sides."""
    around = Difference((difference - width, difference, difference + width))
    return Line(
        row=row,
        num_seeds=3,
        rate=row.prune_ratio or 0.0 if rate is None else rate,
        samples=1.0,
        reference=0.0,
        extra_forwards=0.0,
        seconds=1.0,
        speed_up=1.0,
        mean=FULL_MEAN + difference,
        sd=width,
        difference=None if row == FULL else around,
    )


def lines_of(
    methods: Sequence[str],
    ratios: Sequence[float] = (0.5,),
    exponents: Sequence[float | None] = (None,),
) -> list[Line]:
    """Full, and lines of which no two of a ratio have the same difference."""
    rows = {
        Row(name, ratio, exponent if has_step_length(name) else None): -ratio * (place * 7 % 11)
        - 0.013 * place
        for ratio, exponent, (place, name) in itertools.product(
            ratios, exponents, enumerate(methods)
        )
    }
    return [line(FULL, 0.0), *(line(row, difference) for row, difference in rows.items())]


def made(lines: Sequence[Line]) -> Figure:
    figure = drawn(lines, "A task", margin=0.5)
    assert figure is not None
    figure.draw_without_rendering()
    return figure


def panels(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_visible()]


def points(axes: Axes) -> dict[str, ErrorbarContainer]:
    found = [one for one in axes.containers if isinstance(one, ErrorbarContainer)]
    named = {str(one.get_label()): one for one in found}
    assert len(named) == len(found), "no method twice"
    return named


def data_of(container: ErrorbarContainer) -> np.ndarray:
    assert container[0] is not None
    return np.asarray(container[0].get_xydata())


def pixels_of(container: ErrorbarContainer) -> np.ndarray:
    """Where the points really are on the page."""
    assert container[0] is not None
    return container[0].get_transform().transform(data_of(container))


def texts(figure: Figure) -> list[Text]:
    """What can be read: of an axis the ticks within its limits."""
    unseen = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for place, label in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=False)
        if not min(axis.get_view_interval()) <= place <= max(axis.get_view_interval())
    }
    found = (text for text in figure.findobj(Text) if isinstance(text, Text))
    return [text for text in found if text.get_text() and text.get_visible() and text not in unseen]


def names(axes: Axes) -> list[str]:
    return [label.get_text().replace("\n", "") for label in axes.get_yticklabels()]


def arrows(axes: Axes) -> set[tuple[str, float, float]]:
    places = {one[0] for one in points(axes).values()}
    alone = [one for one in axes.lines if len(one.get_xdata()) == 1 and one not in places]
    return {(str(one.get_marker()), *map(float, one.get_xydata()[0])) for one in alone}


CURVES = {
    "one ratio": lines_of(FEW),
    "one curve": lines_of(FEW[:1]),
    "three ratios, two step lengths": lines_of(FEW, [0.3, 0.5, 0.7], [None, 0.5]),
}
FORESTS = {
    "many rows": lines_of(MANY),
    "four ratios": lines_of(MANY[:10], [0.3, 0.5, 0.7, 0.9]),
    "long names, two step lengths": lines_of([*FEW, *LONG], [0.3, 0.7], [None, 0.5]),
}


@cache
def made_case(case: str) -> Figure:
    return made((CURVES | FORESTS)[case])
