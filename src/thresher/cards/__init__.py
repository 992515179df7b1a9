"""What there is to know of each method, gathered from the methods themselves.

`thresher methods`, the page docs/methods.md and citations all come from here. A method is found by
being exported from `thresher.methods`, `thresher.online` or `thresher.static`; it registers nowhere
and is described nowhere but in its own class facts and docstring.
"""

from thresher.cards.bibtex import bibtex, citation
from thresher.cards.card import Card
from thresher.cards.discovery import FAMILIES, all_cards, card, method_classes

__all__ = ["FAMILIES", "Card", "all_cards", "bibtex", "card", "citation", "method_classes"]
