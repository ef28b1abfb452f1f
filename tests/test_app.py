"""The page's handlers, in a chat of their own, by what a page sends and gets at its socket."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chat import Reader, reader
from rag.calibration import SHIPPED, Calibration, write_calibration
from tests.model_server import DONE, HEAD, ModelServer, chunk, models, usage
from tests.running_chat import prepare_folder, running_chat

pytestmark = pytest.mark.anyio

QUESTION = "For how long must I hold the reset button?"
ANSWER = [HEAD, chunk("Hold the reset button for ten seconds."), chunk(finish="stop"), usage(40, 8), DONE]
WEIGHTS = dict.fromkeys(SHIPPED.without_logprobs, 0.0) | {
    "bias": 1.4,
    "support": 0.0,
}  # a confidence of 0.80, whatever the draft
SHOWN = {"mode": "hybrid", "k": 4, "evidence_tokens": 100, "min_draft_words": 3, "min_confidence": 0.6}


async def confirm(page: Reader, **turned: Any) -> None:
    """What the page sends when somebody has turned something: all values, as it showed them when it was opened."""
    await page._client.emit("chat_settings_change", {"temperature": 0.0, **SHOWN, **turned})


async def asked(page: Reader) -> dict[str, Any]:
    """The metadata of an answer."""
    return (await page.ask(QUESTION, seconds=60)).metadata


async def test_what_a_reader_has_not_turned_follows_the_threshold_that_is_found_at_the_end_of_the_start(
    tmp_path: Path, docs: Path
) -> None:
    """The page was opened before, and shows the old one; what he has turned stays as he wants it."""
    write_calibration(tmp_path / "calibration.json", Calibration("phi-4-mini", WEIGHTS, WEIGHTS, 60, 0.9))
    prepare_folder(tmp_path)
    server, open_for_it = ModelServer([ANSWER], models("phi-4-mini")), asyncio.Event()

    async def serve(stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await open_for_it.wait()
        await server.serve(stream, writer)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        settings = {
            "RAG_SLM_URL": f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1",
            "RAG_CALIBRATION": str(tmp_path / "calibration.json"),
            "RAG_DOCS_DIR": str(docs),
            "RAG_INDEX_DIR": "none",
            "RAG_BY_MEANING": "0",
        }
        with running_chat(tmp_path, host="127.0.0.1", **settings) as chat:
            async with reader(chat) as early, reader(chat) as other:
                panels: list[Any] = []
                early._client.on("chat_settings", panels.append)
                await confirm(early, temperature=0.5)
                waiting = asyncio.create_task(asked(early))
                await asyncio.sleep(0.5)  # the question is there before the model is
                open_for_it.set()
                assert (await waiting)["reason"] == "low confidence: 0.80 < 0.90"
                assert server.bodies[-1]["temperature"] == 0.5
                shown = {one["id"]: one["initial"] for one in panels[-1]}
                assert (shown["min_confidence"], shown["temperature"]) == (0.9, 0.5)
                assert (await asked(other))["reason"] == "low confidence: 0.80 < 0.90"
                assert server.bodies[-1]["temperature"] == 0
                await confirm(other, min_confidence=0.7)
                assert (await asked(other))["route"] == "slm"
