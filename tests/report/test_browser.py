"""The page in a real browser: silent, self-contained, as wide as a phone, hard to break into."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from report import chromium
from report.made_up import HOSTILE, a_comparison, a_run, with_samples, written
from report.parsed import Texts, fidelity, infested
from thresher.bench.report import page as pages
from thresher.bench.report.command import Request, report
from thresher.bench.report.specimens import Data

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium.found() is None, reason="no Chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Browser]:
    command = chromium.found()
    assert command is not None
    with chromium.browser(command, tmp_path_factory.mktemp("profile")) as one:
        yield one


WIDER = """
document.documentElement.scrollWidth <= innerWidth ? [] :
  [...document.querySelectorAll("body *")]
    .filter((each) => !each.closest(".scroll") && each.getBoundingClientRect().right > innerWidth)
    .map((each) => `${each.tagName} ${each.getAttribute("class")} ${each.textContent.slice(0, 40)}`)
"""
"""What is wider than the screen, and not in a box of its own that scrolls."""


def a_page(folder: Path, records: list[dict[str, Any]]) -> Path:
    written(records, folder)
    with_samples(records, folder)
    (folder / "gradient_fidelity.json").write_text(fidelity("RePB"))
    report(Request(runs=str(folder)))
    return folder / "report.html"


def check_silent(browser: chromium.Browser, page: Path) -> None:
    requests = {each["request"]["url"] for each in browser.seen("Network.requestWillBeSent")}
    assert {url for url in requests if not url.startswith("data:")} == {page.resolve().as_uri()}
    for event in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
        assert browser.seen(event) == []
    assert browser.seen("Page.javascriptDialogOpening") == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_a_page_fits_loads_nothing_and_says_nothing_to_the_console(
    width: int, dark: bool, browser: chromium.Browser, tmp_path: Path
) -> None:
    long = "repb(window=none,rescale=false,score=logit_grad_norm,rule=importance())"
    records = a_comparison() + [
        {**run, "config": run["config"] | {"method": long}, "key": f"long {run['key']}"}
        for run in a_comparison()
        if run["config"]["method"] == "repb"
    ]
    page = a_page(tmp_path, records)
    browser.open(page, width=width, dark=dark)
    check_silent(browser, page)
    assert browser.evaluate(WIDER) == []
    ground = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(21, 23, 26)" if dark else "rgb(252, 252, 250)")


CONTRASTS = """
(() => {
  const value = (colour) => {
    const parts = colour.match(/[\\d.]+/g).map(Number);
    const linear = parts.slice(0, 3).map((c) => {
      c /= 255;
      return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return { luminance: 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2],
             alpha: parts.length > 3 ? parts[3] : 1 };
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || element.closest("script, style, title")) continue;
    const style = getComputedStyle(element);
    let ground = element;
    while (ground && value(getComputedStyle(ground).backgroundColor).alpha === 0) {
      ground = ground.parentElement;
    }
    const colour = element.closest("svg") ? style.fill : style.color;
    const a = value(colour).luminance;
    // A number in a point has that point behind it.
    const behind = element.matches("svg .number")
      ? getComputedStyle(element.previousElementSibling).fill
      : getComputedStyle(ground ?? document.body).backgroundColor;
    const b = value(behind).luminance;
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`${element.tagName}.${element.getAttribute("class")} ${ratio}`);
  }
  return [...new Set(found)];
})()
"""


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_has_the_contrast_that_wcag_asks_for(
    dark: bool, browser: chromium.Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "data_of", lambda *_: Data(Texts("a text"), np.arange(100) < 9))
    browser.open(a_page(tmp_path, a_comparison()), width=1280, dark=dark)
    assert browser.evaluate(CONTRASTS) == []


def test_hostile_texts_do_nothing(
    browser: chromium.Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, text in enumerate(HOSTILE):
        monkeypatch.setattr(pages, "data_of", lambda *_, t=text: Data(Texts(t), np.arange(100) < 9))
        page = a_page(tmp_path / str(number), infested(text))
        browser.open(page, width=360)
        check_silent(browser, page)
        assert browser.evaluate("document.documentElement.scrollWidth") <= 360
        assert browser.evaluate("document.scripts.length") == 1


def test_the_policy_stops_what_would_get_through(browser: chromium.Browser, tmp_path: Path) -> None:
    page = a_page(tmp_path, a_comparison(seeds=1))
    text = page.read_text("utf-8")
    page.write_text(text.replace("<main>", "<main><script>window.broken = 1</script>"), "utf-8")
    browser.open(page, width=1280)
    assert browser.evaluate("window.broken ?? 'stopped'") == "stopped"
    assert browser.seen("Log.entryAdded") != []


def test_a_heading_sorts_the_rows_of_each_group(browser: chromium.Browser, tmp_path: Path) -> None:
    browser.open(a_page(tmp_path, a_comparison()), width=1280)
    names = "[...document.querySelectorAll('#task-1 table tbody:last-of-type th[scope=row]')]"
    names = f"{names}.slice(0, 4).map(th => th.textContent)"
    press = "document.querySelectorAll('#task-1 thead button')[{}].click()"
    browser.evaluate(press.format(4))
    by_difference = browser.evaluate(names)
    assert by_difference[0] == "OrderDP"
    assert by_difference[-1] == "RePB"
    browser.evaluate(press.format(4))
    assert browser.evaluate(names) == by_difference[::-1]
    state = "document.querySelector('#task-1 thead th[aria-sort]').getAttribute('aria-sort')"
    assert browser.evaluate(state) == "ascending"


NUMBERS = """
(() => {
  const found = [];
  for (const table of document.querySelectorAll("table[data-sortable]")) {
    const buttons = [...table.querySelectorAll("thead button")];
    for (let column = 0; column < buttons.length; column++) {
      for (const direction of [-1, 1]) {
        buttons[column].click();
        for (const body of table.tBodies) {
          const cells = [...body.rows].filter((r) => r.cells[1]).map((r) => r.cells[column]);
          // Read off what a person reads, not off what the script sorts by.
          const shown = cells.map((c) => c.textContent);
          const numbers = shown.map((s) => parseFloat(s.replace("−", "-").replaceAll(",", "")));
          if (cells[0].className === "t" && !shown.some((s) => s.includes("["))) continue;
          if (cells[0].tagName === "TH") continue;
          for (let k = 1; k < numbers.length; k++) {
            const [a, b] = [numbers[k - 1], numbers[k]];
            const right = isNaN(a) ? isNaN(b) : isNaN(b) || direction * (b - a) >= 0;
            if (!right) found.push(`${buttons[column].textContent} ${direction}: ${shown}`);
          }
        }
      }
    }
  }
  return found;
})()
"""
"""Columns whose numbers do not stand in the order that their heading was asked for."""


def test_every_column_of_numbers_sorts_by_them_and_what_is_none_comes_last(
    browser: chromium.Browser, tmp_path: Path
) -> None:
    records = a_comparison()
    # Text would have 100 % before 52 %, and a minus of its own behind every digit.
    for name, metric, seconds in (
        ("ucb", 89.0, 9.0),
        ("seta", 92.0, 2.08),
        ("omission", 70.0, 1.2),
    ):
        for seed in range(3):
            run = a_run(name, 0.5, seed, metric + 0.1 * seed)
            run["seconds"]["training"] = seconds
            records.append(run | {"extra_forwards": 10 ** len(name), "flops": {"ratio": seconds}})
    records += [a_run("infobatch", 0.5, seed, float("nan")) for seed in range(3)]
    cosines = {"RePB": 0.9, "UCB": -0.2, "SeTa": 0.05, "Omission": float("nan")}
    rows = [
        {"method": name, "phase": "early", "cosine": value, "bias": 10 * value, "variance": 1}
        for name, value in cosines.items()
    ]
    page = a_page(tmp_path, records)
    (tmp_path / "gradient_fidelity.json").write_text(
        json.dumps({"tasks": [{"title": "a task", "gradients": rows}]})
    )
    report(Request(runs=str(tmp_path)))
    browser.open(page, width=1280)
    assert browser.evaluate(NUMBERS) == []


LAST = """
(() => {
  const button = [...document.querySelectorAll("#task-1 table thead button")]
    .find((each) => each.textContent === "helped");
  return [-1, 1].map(() => {
    button.click();
    const column = button.parentElement.cellIndex;
    const body = button.closest("table").tBodies[1];
    return [...body.rows].slice(1).map((row) => row.cells[column].textContent);
  });
})()
"""
"""What stands below `helped` in either direction."""


def test_a_word_that_is_missing_comes_last_in_both_directions(
    browser: chromium.Browser, tmp_path: Path
) -> None:
    browser.open(a_page(tmp_path, a_comparison()), width=1280)
    assert browser.evaluate(LAST) == [["yes", "no", "–", "–"], ["no", "yes", "–", "–"]]


def test_without_scripts_the_page_is_complete(browser: chromium.Browser, tmp_path: Path) -> None:
    page = a_page(tmp_path, a_comparison())
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(page, width=1280)
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.evaluate("document.querySelectorAll('thead button').length") == 0
    assert browser.evaluate("document.body.innerText").count("OrderDP") > 5
