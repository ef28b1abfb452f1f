"""The ladder of models: which one answers with which settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag.backends.choose import choose_models
from rag.backends.embedded import Embedded
from rag.backends.foundry_local import FoundryLocal
from rag.backends.openai_compatible import OpenAICompatible
from rag.errors import ModelUnavailable
from rag.settings import Settings
from tests.model_server import model_server, models, status

pytestmark = pytest.mark.anyio

BOTH = models("Phi-4-mini-instruct-generic-cpu:5", "gpt-oss-20b-cpu:1")


async def test_a_url_in_the_settings_comes_first_and_its_server_may_have_the_large_model_too() -> None:
    """Aliases are resolved to the ids that the server lists, for both roles."""
    async with model_server(listed=BOTH) as server, model_server() as other:
        chosen = await choose_models(Settings(slm_url=server.url, foundry_local_endpoint=other.url))
        assert isinstance(chosen.slm, OpenAICompatible)
        assert chosen.slm.url == f"{server.url}/v1"
        assert chosen.slm.label == "Phi-4-mini-instruct-generic-cpu:5"
        assert chosen.llm is not None
        assert chosen.llm.label == "gpt-oss-20b-cpu:1"
        assert (chosen.no_llm, chosen.faults) == ("", ())


async def test_the_foundry_endpoint_is_used_and_named() -> None:
    """With or without /v1; a server that lists no large model means that there is none."""
    async with model_server(listed=models("phi-4-mini", "qwen")) as server:
        chosen = await choose_models(Settings(foundry_local_endpoint=f"{server.url}/v1/"))
        await chosen.slm.start()
        assert (chosen.slm.label, chosen.slm.where) == ("phi-4-mini", f"Foundry Local ({server.url}/v1)")
        await chosen.slm.stop()
        assert chosen.llm is None
        assert chosen.no_llm == (
            "There is no large model: set RAG_LLM_URL to a server that has gpt-oss-20b, or RAG_LLM_GGUF, or download "
            "one with python -m rag models."
        )


async def test_a_service_on_foundrys_port_is_found() -> None:
    """Nothing configured, and it is simply there."""
    try:
        async with model_server(listed=BOTH, port=5273):
            chosen = await choose_models(Settings())
    except OSError:
        pytest.skip("port 5273 is taken on this machine")
    assert isinstance(chosen.slm, FoundryLocal)
    assert isinstance(chosen.llm, FoundryLocal)


async def test_a_large_model_elsewhere_is_used() -> None:
    """Its own URL wins over the small model's server."""
    async with model_server(listed=BOTH) as small, model_server(listed=models("gpt-oss-20b")) as large:
        chosen = await choose_models(Settings(slm_url=small.url, llm_url=large.url))
        assert isinstance(chosen.llm, OpenAICompatible)
        assert chosen.llm.url == f"{large.url}/v1"


async def test_a_server_that_is_not_there_is_kept_with_a_fault() -> None:
    """It may come up later; nothing else is silently put in its place."""
    chosen = await choose_models(Settings(slm_url="http://127.0.0.1:9", llm_url="http://127.0.0.1:9"))
    assert isinstance(chosen.slm, OpenAICompatible)
    assert chosen.llm is not None
    assert [fault.split()[-1] for fault in chosen.faults] == ["RAG_SLM_URL.", "RAG_LLM_URL."]


async def test_nothing_configured_means_the_embedded_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """And without it, a sentence that says what to do."""
    monkeypatch.setattr("rag.backends.foundry.USUAL_URL", "http://127.0.0.1:9")
    chosen = await choose_models(Settings())
    assert isinstance(chosen.slm, Embedded)
    assert chosen.slm.label == "SmolLM2-135M-Instruct"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelUnavailable, match="The embedded model is not installed"):
        await (await choose_models(Settings())).slm.start()


async def test_the_embedded_model_reads_one_sentence_and_others_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More leads the smallest model astray; whoever knows better sets it."""
    monkeypatch.setattr("rag.backends.foundry.USUAL_URL", "http://127.0.0.1:9")
    gguf = tmp_path / "mine.gguf"
    gguf.write_bytes(b"x")
    for settings, most in (
        (Settings(), 1),
        (Settings(draft_sentences=3), 3),
        (Settings(slm_gguf=gguf), None),
        (Settings(slm_gguf=gguf, draft_sentences=2), 2),
    ):
        assert (await choose_models(settings)).most_sentences == most


async def test_a_web_service_without_models_on_foundrys_port_is_not_foundry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something else may live there."""
    for listed in (models(), status(200, {}), status(200, {"data": [{"id": None}]})):
        async with model_server(listed=listed) as server:
            monkeypatch.setattr("rag.backends.foundry.USUAL_URL", server.url)
            assert isinstance((await choose_models(Settings())).slm, Embedded)


async def test_a_server_that_lists_no_models_is_no_fault() -> None:
    """It may answer all the same."""
    async with model_server(listed=status(404, {})) as server:
        assert (await choose_models(Settings(slm_url=server.url))).faults == ()


async def test_gguf_files_take_either_role(tmp_path: Path) -> None:
    """Neither is loaded by choosing it."""
    path = tmp_path / "my-model.Q4_K_M.gguf"
    path.write_bytes(b"x")
    chosen = await choose_models(Settings(slm_gguf=path, llm_gguf=path))
    assert isinstance(chosen.slm, Embedded)
    assert isinstance(chosen.llm, Embedded)
    assert chosen.llm.label == "my-model"
    assert not chosen.llm.ready
