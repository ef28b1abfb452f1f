"""The page of a report, in a real browser: small and large, light and dark, and with hostile recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from rag.workbench.page import html
from tests.report_kit import bench, report_of
from tests.test_report_page import HOSTILE

pytestmark = pytest.mark.browser

OVERFLOWING = """() => {
  const end = (element) => element.getBoundingClientRect().right;
  return [...document.querySelectorAll("svg text")].filter((text) => end(text) > end(text.closest("svg")) + 0.5)
    .map((text) => text.textContent);
}"""
# Of every element with words of its own, the least contrast of its colour with the page's.
CONTRAST = """() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = (colour) => parts(colour).map((one) => one / 255)
    .map((one) => one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
    .reduce((sum, one, at) => sum + one * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  return Math.min(...[...document.querySelectorAll("body *")]
    .filter((one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()))
    .filter((one) => !one.closest("title, desc"))
    .map((one) => {
      const style = getComputedStyle(one);
      const [a, b] = [light(one instanceof SVGElement ? style.fill : style.color), light(behind(one))];
      return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    }));
}"""


def rows() -> list[dict[str, Any]]:
    """Long names, attacks, a failure, two labels."""
    names = (*HOSTILE, "m" * 110, "模型" * 40)
    labels = ("cpu", "W" * 40)
    fine = [
        bench(name, 1.0 + at, sample=name, label=label, facets=0.5) for label in labels for at, name in enumerate(names)
    ]
    return [*fine, {"alias": "bad", "error": HOSTILE[0], "label": "cpu"}]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_asks_nobody(chromium: Browser, tmp_path: Path, width: int, scheme: Any) -> None:
    """No sideways scrolling but in the tables, no letter outside its chart, contrast for all, and nothing runs."""
    file = tmp_path / "report.html"
    file.write_text(html(report_of(tmp_path, *rows(), watts=45.0)), encoding="utf-8")
    context = chromium.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    try:
        page = context.new_page()
        asked: list[str] = []
        said: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.goto(file.as_uri())
        for summary in page.locator("summary").all():
            summary.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(OVERFLOWING) == []
        assert page.evaluate(CONTRAST) >= 4.5
        assert page.locator("script, img, b").count() == 0
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 24, 28)"
        assert dark == (scheme == "dark")
        assert (asked, said) == ([file.as_uri()], [])
    finally:
        context.close()
