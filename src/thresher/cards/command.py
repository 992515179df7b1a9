"""`thresher methods`: all methods in a table, or one with its card. Needs no extra."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence

from thresher.cards.discovery import all_cards, card
from thresher.cards.text import full_text, listing

_ABOUT = "Here to list the methods, or print one's card and BibTeX."


def methods(arguments: Sequence[str]) -> int:
    """Run `thresher methods` and return its exit code.

    Args:
        arguments: what follows `methods` on the command line.

    Raises:
        SettingError: a method is asked for that does not exist.
        SystemExit: the arguments cannot be read, or only help was wanted.

    Example:
        >>> methods(["Full"])  # doctest: +ELLIPSIS
        Full (historical)
        <BLANKLINE>
        Train on every sample, with weight 1, in every epoch...
        0
    """
    parser = ArgumentParser(prog="thresher methods", description=_ABOUT)
    parser.add_argument("name", nargs="?", help="of a method, such as RePB")
    name = parser.parse_args(list(arguments)).name
    if name is None:
        text = f"{listing(all_cards())}\n\nthresher methods NAME prints a method's card and BibTeX."
    else:
        text = full_text(card(name))
    sys.stdout.write(f"{text}\n")
    return 0
