"""References as BibTeX."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from thresher.errors import SettingError
from thresher.methods import Reference

# A one-word venue that is not among these is the acronym of a conference.
_JOURNALS = {"JMLR", "TMLR", "TPAMI", "PNAS", "Nature", "Science"}
_UNPUBLISHED = re.compile(r"submission|preprint|under review|manuscript|thesis", re.IGNORECASE)


def citation(method: Any) -> str:
    """Return the BibTeX entry of the paper that a method is faithful to.

    Args:
        method: a method of any family, or its class.

    Returns:
        One entry; methods of one paper have the same.

    Raises:
        SettingError: it has no `reference`.

    Example:
        >>> from thresher import InfoBatch
        >>> print(citation(InfoBatch()))
        @inproceedings{qin2024infobatch,
          title = {{InfoBatch: Lossless Training Speed Up by Unbiased Dynamic Data Pruning}},
          author = {Qin and others},
          year = {2024},
          booktitle = {ICLR},
          eprint = {2303.04947},
          archiveprefix = {arXiv},
        }
    """
    reference = getattr(method, "reference", None)
    if not isinstance(reference, Reference):
        raise SettingError(
            f"citation({method!r})", "a method, or its class, which names its paper as `reference`"
        )
    return bibtex(reference)


def bibtex(reference: Reference) -> str:
    """Return a reference as a BibTeX entry.

    A conference's acronym makes an @inproceedings, another venue an @article; what is only on
    arXiv, or submitted, is a @misc. The title keeps its capitals.

    Args:
        reference: what a method names.

    Example:
        >>> from thresher.methods import Full
        >>> bibtex(Full.reference).splitlines()[0]
        '@article{robbins1951stochastic,'
    """
    kind, venue = _kind(reference.venue)
    fields = {
        "title": f"{{{_escaped(reference.title)}}}",
        "author": _authors(reference.authors),
        "year": str(reference.year),
    }
    if reference.venue:
        fields[venue] = _escaped(reference.venue)
    if reference.arxiv:
        fields |= {"eprint": reference.arxiv, "archiveprefix": "arXiv"}
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return "\n".join([f"@{kind}{{{_key(reference)},", *lines, "}"])


def short(reference: Reference) -> str:
    """Return a reference as a table names it: authors, year and venue.

    Example:
        >>> from thresher import InfoBatch
        >>> short(InfoBatch.reference)
        'Qin et al., ICLR 2024'
    """
    where = reference.venue or (f"arXiv {reference.arxiv}" if reference.arxiv else "")
    return f"{reference.authors}, {where} {reference.year}".replace(",  ", ", ")


def _kind(venue: str) -> tuple[str, str]:
    """The entry's type, and the name of the field that holds the venue."""
    if not venue or _UNPUBLISHED.search(venue):
        return "misc", "howpublished"
    words = venue.split()
    is_acronym = words[0] not in _JOURNALS and sum(letter.isupper() for letter in words[0]) > 1
    return ("inproceedings", "booktitle") if is_acronym else ("article", "journal")


def _authors(authors: str) -> str:
    names = _escaped(authors).replace(" et al.", " and others").replace(", ", " and ")
    names = names.replace(" and and ", " and ")
    # "Anonymous authors" is one name and must not be read as a first and a last one.
    return f"{{{names}}}" if names.startswith("Anonymous") else names


def _key(reference: Reference) -> str:
    first = re.split(r",| and | et al|(?<=Anonymous) ", reference.authors)[0]
    words = [word for word in re.findall(r"\w+", reference.title) if len(word) > 3]
    return _plain(first.split()[-1]) + str(reference.year) + _plain(words[0] if words else "")


def _plain(text: str) -> str:
    """Lower-case ASCII letters and digits: what every BibTeX program takes in a key."""
    letters = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]", "", letters)


def _escaped(text: str) -> str:
    return re.sub(r"([&%#$_])", r"\\\1", text)
