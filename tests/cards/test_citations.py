"""Every method's BibTeX is one entry that a strict reader parses."""

from __future__ import annotations

import re

import pytest

from thresher import RePB
from thresher.cards import bibtex, citation, method_classes
from thresher.errors import SettingError
from thresher.methods import Reference

REQUIRED = {
    "article": {"title", "author", "year", "journal"},
    "inproceedings": {"title", "author", "year", "booktitle"},
    "misc": {"title", "author", "year"},
}


def parsed(entry: str) -> tuple[str, str, dict[str, str]]:
    """Read @kind{key, name = {value}, ...}: its kind, its key and its fields, or fail."""
    head = re.fullmatch(r"@([a-z]+)\{([a-z0-9]+),\n(.*)\}", entry, re.DOTALL)
    assert head, entry
    kind, key, body = head.groups()
    found: dict[str, str] = {}
    position = 0
    while position < len(body):
        start = re.compile(r"\s*([a-z]+) = \{").match(body, position)
        assert start, body[position:]
        position = opened = start.end()
        depth = 1
        while depth:
            depth += {"{": 1, "}": -1}.get(body[position], 0)
            position += 1
        assert start[1] not in found
        found[start[1]] = body[opened : position - 1]
        rest = re.compile(r",\n").match(body, position)
        assert rest, body[position:]
        position = rest.end()
    return kind, key, found


@pytest.mark.parametrize("kind", method_classes(), ids=lambda kind: kind.__name__)
def test_entry_parses(kind: type) -> None:
    entry = citation(kind)
    type_, _, values = parsed(entry)
    assert values.keys() >= REQUIRED[type_]
    assert values.keys() <= REQUIRED[type_] | {"eprint", "archiveprefix", "howpublished"}
    assert re.fullmatch(r"\d{4}", values["year"])
    assert all(values.values())
    assert not re.search(r"(?<!\\)[&%#$_]", "".join(values.values()))
    assert "et al" not in values["author"]
    assert "," not in values["author"]


def test_keys_name_papers() -> None:
    """One paper, one key: methods of the same paper are cited once."""
    references = {kind.reference for kind in method_classes()}
    assert len({parsed(bibtex(each))[1] for each in references}) == len(references)


def test_a_method_is_cited_as_its_class_is() -> None:
    assert citation(RePB(prune_ratio=0.5)) == citation(RePB)


@pytest.mark.parametrize(
    ("reference", "kind", "key", "expected"),
    [
        (
            Reference(title="On A & B_1", authors="Salaün et al.", year=2023, arxiv="2311.1"),
            "misc",
            "salaun2023",
            {"title": "{On A \\& B\\_1}", "author": "Salaün and others", "eprint": "2311.1"},
        ),
        (
            Reference(title="The Rule", authors="Li, De Jong and Wu", year=1999, venue="NeurIPS"),
            "inproceedings",
            "li1999rule",
            {"author": "Li and De Jong and Wu", "booktitle": "NeurIPS"},
        ),
        (
            Reference(title="Some Rules", authors="A, B, and C", year=2020, venue="JMLR 21"),
            "article",
            "a2020some",
            {"author": "A and B and C", "journal": "JMLR 21"},
        ),
        (
            Reference(
                title="Rules", authors="Anonymous authors", year=2025, venue="ICLR submission"
            ),
            "misc",
            "anonymous2025rules",
            {"author": "{Anonymous authors}", "howpublished": "ICLR submission"},
        ),
        (
            Reference(title="Rules", authors="Xu", year=2020, venue="Annals of Statistics"),
            "article",
            "xu2020rules",
            {"journal": "Annals of Statistics"},
        ),
    ],
)
def test_kinds_of_publication(
    reference: Reference, kind: str, key: str, expected: dict[str, str]
) -> None:
    found = parsed(bibtex(reference))
    assert found[:2] == (kind, key)
    assert expected.items() <= found[2].items()


@pytest.mark.parametrize("thing", [3, "RePB", object])
def test_what_has_no_paper_is_refused(thing: object) -> None:
    with pytest.raises(SettingError, match="names its paper"):
        citation(thing)
