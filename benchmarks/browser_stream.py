"""
Does a browser keep up with a fast model? One packet for each token drowns it; the page sends one every 30 ms.

A paced server writes 2,000 tokens at 200 a second, which takes 10 s. Chromium shows them, with our coalesced packets
and with one packet for each token, in turn. What counts is the time from pressing Enter to the frame in which the
last token is on the page: at most 10.3 s.

    python -m benchmarks.browser_stream [--rounds 3] [--tokens 2000] [--out FILE]
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from benchmarks.chat import APP, QUESTION, chat_folder, running_chat
from benchmarks.common import arguments, conclude, median, rounded, table
from benchmarks.paced import paced_server, token

PACE_S = 0.005
APPS = {"coalesced": APP, "per token": Path(__file__).parent / "per_token_app.py"}
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()

# Notes when Enter is pressed, and the frames in which the first token, the last one and the waterfall are there.
WATCH = """last => {
    const seen = window.seen = {changes: 0};
    const note = name => {
        if (name in seen) return;
        seen[name] = null;
        requestAnimationFrame(() => { seen[name] = (performance.now() - seen.sent) / 1000; });
    };
    addEventListener("keydown", event => { if (event.key === "Enter") seen.sent = performance.now(); }, true);
    new MutationObserver(() => {
        const all = document.querySelectorAll('[data-step-type="assistant_message"] .message-content');
        const text = all.length ? all[all.length - 1].textContent : "";
        if (text.length !== seen.length) { seen.length = text.length; seen.changes += 1; }
        if (/\\bw1\\b/.test(text.slice(0, 40))) note("first_s");
        if (text.slice(-80).includes(last)) note("last_s");
        if (document.querySelector(".gr-fall-line")) note("waterfall_s");
    }).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""
ARRIVED = "() => ['first_s', 'last_s', 'waterfall_s'].every(name => window.seen[name])"


def watch_one(chromium: Browser, url: str, tokens: int) -> dict[str, float]:
    """Ask once on a fresh page; seconds to the first token, the last one, and the waterfall."""
    context = chromium.new_context(viewport={"width": 1280, "height": 860})
    try:
        page = context.new_page()
        page.goto(url)
        page.locator("#starters button:enabled").first.wait_for(timeout=30_000)
        page.evaluate(WATCH, token(tokens).strip())
        page.fill("#chat-input", QUESTION)
        page.keyboard.press("Enter")
        page.wait_for_function(ARRIVED, timeout=120_000, polling=500)
        seen: dict[str, float] = page.evaluate("window.seen")
        return {name: seen[name] for name in ("first_s", "last_s", "waterfall_s", "changes")}
    finally:
        context.close()


def launch(playwright: Any) -> Browser:
    """The Chromium that the machine has."""
    path = os.environ.get("RAG_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not path:
        raise SystemExit("There is no Chromium on this machine. Install it, or set RAG_CHROMIUM to its path.")
    browser: Browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
    return browser


def measure(rounds: int, tokens: int) -> dict[str, list[dict[str, float]]]:
    """Each kind of packets in turn; one chat lives at a time, so that the other does not take its processor."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in APPS}
    with paced_server(tokens=tokens, pace_s=PACE_S) as server, chat_folder() as folder, sync_playwright() as playwright:
        settings = {
            "RAG_SLM_URL": server, "RAG_SLM_MAX_TOKENS": "4000", "RAG_MIN_CONFIDENCE": "0", "RAG_MIN_DRAFT_WORDS": "0",
        }  # fmt: skip
        chromium = launch(playwright)
        for number in range(rounds):
            for name, app in list(APPS.items())[:: 1 if number % 2 == 0 else -1]:
                with running_chat(folder, app, **settings) as chat:
                    found[name].append(watch_one(chromium, chat.url, tokens))
                print(f"{name}: {rounded(found[name][-1])}", flush=True)
        chromium.close()
    return found


def main() -> None:
    """Run from the command line."""
    options = arguments(__doc__ or "", rounds=3, tokens=2000)
    found = measure(options.rounds, options.tokens)
    medians = {
        name: rounded({what: median([seen[what] for seen in all_seen]) for what in all_seen[0]}, 3)
        for name, all_seen in found.items()
    }
    print(
        table(
            ["packets", "first s", "last s", "waterfall s", "changes"], [[n, *m.values()] for n, m in medians.items()]
        )
    )
    least = options.tokens * PACE_S
    conclude(
        {
            "rounds": options.rounds, "tokens": options.tokens, "server_s": least, "median": medians,
            "last_s": {name: [round(seen["last_s"], 3) for seen in all_seen] for name, all_seen in found.items()},
            "goals": {"last_s": round(least + 0.3, 2)},
        },
        options.out,
    )  # fmt: skip


if __name__ == "__main__":
    main()
