"""Which weights and which models an assistant goes by: calibrated ones, and those of a service that changes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rag.assistant import build_assistant
from rag.backends.scripted import ScriptedBackend
from rag.calibration import SHIPPED, Calibration, write_calibration
from rag.check import look_at
from rag.settings import Settings
from tests.foundry_server import GPT, PHI, foundry_server
from tests.test_assistant import DOUBTFUL, GOOD, Make, answer_of

pytestmark = pytest.mark.anyio


WEIGHTS = dict.fromkeys(SHIPPED.without_logprobs, 0.0) | {"bias": 3.0}


def calibrated(tmp_path: Path, **changes: Any) -> Path:
    """A calibration file in which every draft is very likely right."""
    path = tmp_path / "calibration.json"
    write_calibration(path, replace(Calibration("scripted stand-in", WEIGHTS, WEIGHTS, 60, 0.9), **changes))
    return path


async def test_the_users_calibration_decides_and_brings_its_threshold(make_assistant: Make, tmp_path: Path) -> None:
    """Where it is for this model; RAG_MIN_CONFIDENCE, if it is set, still wins."""
    path = calibrated(tmp_path)
    answer = await answer_of(make_assistant(ScriptedBackend(GOOD), calibration=path))
    assert answer.confidence is not None
    assert answer.confidence.value == pytest.approx(0.953, abs=1e-3)
    assert (answer.route, answer.verdict and answer.verdict.threshold) == ("slm", 0.9)
    strict = await answer_of(make_assistant(ScriptedBackend(GOOD), calibration=path, min_confidence=0.99))
    assert (strict.route, strict.verdict and strict.verdict.threshold) == ("quoted", 0.99)


async def test_a_calibration_that_lacks_a_weight_is_ignored_with_a_warning(
    make_assistant: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It would count as 0, and nobody would know why good drafts are set aside."""
    some = {name: weight for name, weight in WEIGHTS.items() if name != "support"}
    path = calibrated(tmp_path, with_logprobs=some)
    answer = await answer_of(make_assistant(ScriptedBackend(GOOD), calibration=path))
    assert answer.verdict is not None
    assert answer.verdict.threshold == 0.60
    assert f"{path} has no weight for support" in caplog.text


@pytest.mark.parametrize("fault", ["another model", "broken", "absent"])
async def test_a_calibration_that_does_not_fit_is_ignored_with_a_warning(
    make_assistant: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    """The warning names the file; the shipped weights judge."""
    path = calibrated(tmp_path, model="phi-4-mini")
    if fault == "broken":
        path.write_text("{")
    if fault == "absent":
        path.unlink()
    answer = await answer_of(make_assistant(ScriptedBackend(DOUBTFUL), calibration=path))
    assert answer.route == "quoted"
    assert answer.confidence is not None
    assert answer.confidence.value < 0.6
    assert [record.getMessage() for record in caplog.records if str(path) in record.getMessage()]


async def test_the_check_says_which_calibration_is_in_use(make_assistant: Make, tmp_path: Path) -> None:
    """One that is named and does not serve is a fault, with the command that mends it."""
    texts = []
    for path in (calibrated(tmp_path), tmp_path / "mistyped.json", None):
        assistant = make_assistant(ScriptedBackend(GOOD), calibration=path)
        await assistant.start()
        found = next(one for one in await look_at(assistant) if one.name == "calibration")
        texts.append(f"{found.state} {found.text}")
        await assistant.stop()
    assert texts[0] == (
        f"ok in {tmp_path / 'calibration.json'}: fitted on 60 drafts of scripted stand-in; "
        "drafts are kept from a confidence of 0.9"
    )
    assert texts[1].startswith(f"fault The shipped weights are used: {tmp_path / 'mistyped.json'} is not there.")
    assert "python -m rag calibrate" in texts[1]
    assert texts[2].startswith("ok shipped: fitted on ")


@pytest.mark.model
async def test_a_service_that_waits_for_its_small_model_is_looked_at_again(
    docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody configured it, and the large one is there: the warning stays until it is mended, and no longer."""
    async with foundry_server(catalogue={GPT: "gpt-oss-20b"}) as server:
        monkeypatch.setattr("rag.backends.foundry.USUAL_URL", server.url)
        assistant = build_assistant(Settings(docs_dir=docs))
        await assistant.start()
        assert assistant.models is not None
        first = assistant.models.slm
        for _ in range(2):
            assert "foundry model download phi-4-mini" in assistant.faults[0]
            await assistant.look_again()
            assert assistant.models.slm is first
        server.catalogue = {PHI: "phi-4-mini", GPT: "gpt-oss-20b"}
        await assistant.look_again()
        assert (assistant.faults, assistant.models.at_once) == ([], 1)
        async with assistant.slot():
            waiting = asyncio.create_task(assistant.slot().__aenter__())
            await asyncio.sleep(0.05)
            assert not waiting.done()
            waiting.cancel()
        await assistant.stop()


async def test_fitted_weights_are_used_for_the_id_that_an_alias_became(docs: Path, tmp_path: Path) -> None:
    """The file was made for what answers, not for what was asked for."""
    async with foundry_server() as server:
        path = calibrated(tmp_path, model=PHI)
        assistant = build_assistant(Settings(docs_dir=docs, foundry_local_endpoint=server.url, calibration=path))
        await assistant.start()
        assert (assistant.calibration_fault, assistant.knobs.min_confidence) == ("", 0.9)
        await assistant.stop()
