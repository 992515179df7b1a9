"""The page: whole, closed to the outside, and nothing in the data makes markup of it."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from report.made_up import HOSTILE, a_comparison, a_run, with_samples, written
from report.parsed import Parsed, Pictures, Texts, fidelity, infested
from thresher.bench.report import page as pages
from thresher.bench.report import specimens
from thresher.bench.report.command import Request, report
from thresher.bench.report.command import written as page_of
from thresher.bench.report.runs import read
from thresher.bench.report.specimens import Data, excerpt, picture
from thresher.cli import main


def html(records: list[dict[str, Any]], folder: Path, **request: Any) -> str:
    written(records, folder)
    return page_of(read(folder), Request(runs=str(folder), **request))


def test_a_page_has_one_heading_tables_with_scopes_and_pictures_with_words(tmp_path: Path) -> None:
    parsed = Parsed(html(a_comparison(), tmp_path))
    assert len(parsed.all("h1")) == 1
    assert parsed.all("html") == [{"lang": "en"}]
    assert all(each.get("scope") for each in parsed.all("th"))
    assert all(
        each.get("aria-label") or each.get("aria-hidden") == "true" for each in parsed.all("svg")
    )
    assert all(each["alt"] for each in parsed.all("img"))
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in parsed.elements:
        assert attributes.get("aria-labelledby", ids[0]) in ids
        assert attributes.get("href", "#task-1") in {
            "data:,",
            "#how",
            *(f"#{each}" for each in ids),
        }
    levels = [int(tag[1]) for tag, _ in parsed.elements if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in zip([0, *levels], levels, strict=False))


def test_the_page_says_what_the_runs_say(tmp_path: Path) -> None:
    text = " ".join(Parsed(html(a_comparison(notes=["a note of a run"]), tmp_path)).texts)
    for part in (
        "At 50\xa0%, OrderDP trained 50\xa0% fewer samples",
        "Every row: what it saved",
        "Cost and quality",
        "Prune rate by epoch",
        "Spread of the weights by epoch",
        "Time by part",
        "a note of a run",
        "thresher compare --methods full random fewer-epochs orderdp repb --epochs 4",
        "python 3.11, torch 2.13",
        "a processor",
    ):
        assert part in text


def test_nothing_is_loaded_from_anywhere(tmp_path: Path) -> None:
    page = html(a_comparison(), tmp_path)
    assert "http:" not in page.replace("http://example", "")
    assert "https:" not in page
    assert "url(" not in page
    assert "@import" not in page
    parsed = Parsed(page)
    policy = next(each["content"] for each in parsed.all("meta") if "http-equiv" in each)
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe-inline" not in policy.split("script-src")[1]
    assert len(parsed.all("script")) == 1


def test_the_policy_allows_the_very_script_of_the_page(tmp_path: Path) -> None:
    page = html(a_comparison(seeds=1), tmp_path)
    [script] = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert f"script-src '{pages._hash(script)}'" in page


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_a_run_makes_markup(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pages_with(word: str, name: str) -> Parsed:
        monkeypatch.setattr(pages, "data_of", lambda *_: Data(Texts(word), np.arange(100) < 9))
        folder = written(infested(word), tmp_path / name)
        with_samples(infested(word), folder)
        (folder / "gradient_fidelity.json").write_text(fidelity(word))
        return Parsed(page_of(read(folder), Request(runs=str(folder))))

    tame, wild = pages_with("harmless", "a"), pages_with(text, "b")
    # Element for element and attribute for attribute the same page: a text stays a text.
    assert wild.shape == tame.shape
    shown = " ".join(text.split())
    assert sum(shown in " ".join(each.split()) for each in wild.texts) > 20
    for tag, attributes in wild.elements:
        assert not any(name.startswith("on") for name in attributes)
        assert tag != "a" or attributes["href"].startswith("#")


def test_gradient_fidelity_is_shown_if_it_was_measured_and_left_out_if_it_is_damaged(
    tmp_path: Path,
) -> None:
    folder = written(a_comparison(seeds=1), tmp_path)
    assert "Gradient fidelity" not in page_of(read(folder), Request(runs=str(folder)))
    (folder / "gradient_fidelity.json").write_text(fidelity("RePB of a task"))
    text = " ".join(Parsed(page_of(read(folder), Request(runs=str(folder)))).texts)
    assert "Gradient fidelity" in text
    assert "0.900" in text
    (folder / "gradient_fidelity.json").write_text(fidelity("x")[:-9])
    assert "Gradient fidelity" not in page_of(read(folder), Request(runs=str(folder)))


def test_samples_are_counted_without_the_data_and_shown_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(a_comparison(), tmp_path)
    with_samples(a_comparison(), folder)
    page = Parsed(page_of(read(folder), Request(runs=str(folder))))
    text = " ".join(page.texts)
    assert "How often samples were kept" in text
    assert "add" in text
    assert "--data FOLDER" in text
    assert page.all("img") == []
    assert "Suspected label errors" not in text

    wrong = np.arange(100) < 10
    monkeypatch.setattr(pages, "data_of", lambda *_: Data(Pictures(), wrong))
    page = Parsed(page_of(read(folder), Request(runs=str(folder))))
    text = " ".join(page.texts)
    assert "Suspected label errors" in text
    assert "10.0\xa0%" in text
    assert "known to be wrong" in text
    # Two methods have uneven counts, as have full and both the suspects.
    assert len(page.all("img")) == 2 * 16 + 3 * 16
    assert all(each["src"].startswith("data:image/png;base64,") for each in page.all("img"))
    assert any(
        each["alt"].startswith("Sample 0, labelled one, trained 4×") for each in page.all("img")
    )


def test_several_tasks_have_an_overview_and_places_to_go(tmp_path: Path) -> None:
    records = [*a_comparison(), *a_comparison(task="cifar10"), *a_comparison(task="unknown")]
    parsed = Parsed(html(records, tmp_path / "my runs"))
    text = " ".join(parsed.texts)
    assert "All tasks at a glance" in text
    assert "CIFAR-10" in text
    assert "my runs" in text
    assert {each["href"] for each in parsed.all("a")} == {"#task-1", "#task-2", "#task-3", "#how"}


@pytest.mark.parametrize(
    "records",
    [
        [a_run("full", None, 0, 90.0)],
        [a_run("repb", 0.5, 0, 90.0)],
        [a_run("random", 0.5, 0, 90.0), a_run("full", None, 1, 90.0)],
        [a_run("full", None, 0, float("nan")), a_run("repb", 0.5, 0, float("nan"))],
        [{**a_run("full", None, 0, 90.0), "epochs": []}, a_run("repb", 0.5, 0, 90.0)],
        [a_run("repb", 0.5, 0, 90.0, prune_rate=1.0, samples_trained=0)],
    ],
    ids=["full", "method", "other seed", "diverged", "no epochs", "nothing"],
)
def test_odd_runs_make_a_whole_page(records: list[dict[str, Any]], tmp_path: Path) -> None:
    page = html(records, tmp_path)
    Parsed(page)
    for form in ("markdown", "csv", "json"):
        assert page_of(read(tmp_path), Request(runs="", format=form))


def test_the_command_writes_into_the_folder_or_where_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = written(a_comparison(seeds=1), tmp_path / "runs")
    for form, name in {
        "html": "report.html",
        "markdown": "report.md",
        "json": "report.json",
    }.items():
        assert main(["report", str(folder), "--format", form]) == 0
        assert f"Written: {folder / name}, from 5 runs." in capsys.readouterr().out
        assert (folder / name).exists()
    assert main(["report", str(folder), "--format", "csv", "--out", "-"]) == 0
    assert capsys.readouterr().out.startswith("task,folder,epochs,metric,")
    assert not (folder / "report.csv").exists()


def test_the_command_refuses_what_it_cannot_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(written(a_comparison(seeds=1), tmp_path / "runs"))
    (tmp_path / "empty").mkdir()
    for arguments, told in {
        (str(tmp_path / "empty"),): "no runs.jsonl and no runs.jsonl.xz",
        (folder, "--format", "pdf"): "--format pdf; expected: one of html, markdown, csv, json",
        (folder, "--margin", "0"): "--margin 0; expected: more than 0",
        (folder, "--out", str(tmp_path / "no" / "x.html")): "cannot be written",
        (): "",
    }.items():
        assert main(["report", *arguments]) in (1, 2)
        assert told in capsys.readouterr().err


def test_a_damaged_line_is_told_by_the_command_and_on_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = written(a_comparison(seeds=1), tmp_path)
    with (folder / "runs.jsonl").open("a") as file:
        file.write('{"key": "cut o')
    report(Request(runs=str(folder)))
    told = "runs.jsonl, line 6: damaged; skipped"
    assert told in capsys.readouterr().out
    assert told in (folder / "report.html").read_text("utf-8")


def test_a_picture_is_a_png_of_its_pixels() -> None:
    for channels in (1, 3):
        pixels = torch.zeros(channels, 8, 12, dtype=torch.uint8)
        pixels[:, 2, 3] = 255
        head, content = picture(pixels).split(",")
        assert head == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(content))) as image:
            assert image.size == (144, 96)
            bright = np.asarray(image.convert("L")) > 128
        assert bright.sum() == 144
        assert bright[24:36, 36:48].all()


def test_pictures_of_few_shades_of_grey_are_not_black() -> None:
    class Dark(Pictures):
        def shown(self, sample: int) -> torch.Tensor:
            return torch.full((1, 8, 8), sample % 17, dtype=torch.uint8)

    uri = Data(Dark(), None).specimen(15, "").picture
    with Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as image:
        assert np.asarray(image.convert("L")).min() > 250


def test_a_long_text_is_cut_and_a_short_one_is_not() -> None:
    assert excerpt("a  b\n c") == "a b c"
    cut = excerpt("word " * 100)
    assert len(cut) == 180
    assert cut.endswith("…")


def test_other_data_than_the_runs_is_not_shown(tmp_path: Path) -> None:
    assert specimens.data_of("digits", "other", [tmp_path]) is None
    assert specimens.data_of("<script>", "", []) is None
