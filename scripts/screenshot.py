"""
Take the README's picture: a real conversation with the embedded model about docs/, in a real browser.

    python -m scripts.screenshot [--question "…"] [--out public/chat.png] [--width 1280] [--dark]
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import FLAGS
from tests.running_chat import ROOT, prepare_folder, running_chat

QUESTION = "When is a draft escalated to the large model?"


def take(page: Page, url: str, question: str, out: Path) -> None:
    """Ask, open the waterfall and the first source, and take the picture."""
    page.goto(url)
    page.locator("#starters button").first.wait_for()
    page.wait_for_timeout(3000)  # the model loads, so that the waterfall shows a usual answer and not the first
    page.fill("#chat-input", question)
    page.keyboard.press("Enter")
    page.locator(".gr-fall-line").wait_for(timeout=120_000)
    page.wait_for_timeout(500)
    if page.viewport_size and page.viewport_size["width"] > 800 and page.locator(".gr-chip").count():
        page.locator(".gr-chip").first.click()
        page.locator(".gr-source mark").wait_for()
    page.locator(".gr-fall-line").click()
    page.mouse.move(5, 400)
    page.wait_for_timeout(800)
    page.screenshot(path=out)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--question", default=QUESTION)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "chat.png")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--dark", action="store_true")
    options = parser.parse_args()
    chromium = os.environ.get("RAG_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        prepare_folder(folder)
        chat = stack.enter_context(running_chat(folder, RAG_DOCS_DIR=str(ROOT / "docs")))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": options.width, "height": 860})
        theme = "dark" if options.dark else "light"
        page.add_init_script(f"localStorage.setItem('vite-ui-theme', '{theme}')")
        take(page, chat.url, options.question, options.out)
        browser.close()


if __name__ == "__main__":
    main()
