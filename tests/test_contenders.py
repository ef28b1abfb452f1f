"""Which models are measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from rag.backends.embedded import Embedded
from rag.backends.openai_compatible import OpenAICompatible
from rag.errors import ModelUnavailable
from rag.settings import Settings
from rag.workbench.contenders import contenders, names_in
from tests.foundry_server import GPT, PHI, foundry_server
from tests.model_server import ModelServer, model_server, models, status

pytestmark = pytest.mark.anyio

BOTH = models("Phi-4-mini-instruct-generic-cpu:5", "gpt-oss-20b-cpu:1", "nomic-embed-text", "bge-reranker")
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _no_foundry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs on this machine."""
    monkeypatch.setattr("rag.backends.foundry.USUAL_URL", NOBODY)


async def aliases(settings: Settings, *names: str) -> list[str]:
    """What the contenders are called."""
    async with contenders(settings, names) as found:
        return [one.alias for one in found]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param(["slm", "llm"], ["phi-4-mini", "gpt-oss-20b"], id="roles"),
        pytest.param(["phi-4-mini"], ["phi-4-mini"], id="alias"),
        pytest.param(["gpt-oss-20b-cpu:1"], ["gpt-oss-20b-cpu:1"], id="id"),
        pytest.param(["embedded"], ["SmolLM2-135M-Instruct"], id="embedded"),
        pytest.param(["smollm2-135m-instruct"], ["SmolLM2-135M-Instruct"], id="the embedded one by its name"),
        pytest.param(["nomic-embed-text"], ["nomic-embed-text"], id="what is named is taken"),
        pytest.param(["slm", "phi-4-mini", "SLM"], ["phi-4-mini"], id="the same model twice"),
        pytest.param(
            [],
            ["Phi-4-mini-instruct-generic-cpu:5", "gpt-oss-20b-cpu:1", "SmolLM2-135M-Instruct"],
            id="all that there are",
        ),
    ],
)
async def test_names_are_resolved(names: list[str], expected: list[str]) -> None:
    """By role, by what a server lists, and by alias; without names, all that chat."""
    async with model_server(listed=BOTH) as server:
        assert await aliases(Settings(slm_url=server.url), *names) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param(["slm", "llm"], ["phi-4-mini", "gpt-oss-20b"], id="roles"),
        pytest.param(["phi-4-mini", "gpt-oss-20b"], ["phi-4-mini", "gpt-oss-20b"], id="aliases"),
        pytest.param(["qwen2.5-0.5b"], ["qwen2.5-0.5b"], id="another of its models"),
        pytest.param([], [PHI, "gpt-oss-20b", "SmolLM2-135M-Instruct"], id="what is loaded, and the roles"),
    ],
)
async def test_models_of_foundry_local_are_found_by_their_aliases(names: list[str], expected: list[str]) -> None:
    """It lists what could be downloaded, too; of that nothing is loaded but what is asked for by name."""
    catalogue = {PHI: "phi-4-mini", GPT: "gpt-oss-20b", "qwen2.5-0.5b-instruct-cpu:4": "qwen2.5-0.5b"}
    async with foundry_server(catalogue=catalogue, loaded={PHI}) as server:
        assert await aliases(Settings(foundry_local_endpoint=server.url), *names) == expected
        assert server.loaded == {PHI}


async def asked(server: ModelServer, *names: str) -> str:
    """What is wrong with these names."""
    with pytest.raises(ModelUnavailable) as raised:
        await aliases(Settings(slm_url=server.url), *names)
    return str(raised.value)


async def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    """Before anything is measured; and all of them at once, with what there is."""
    async with model_server(listed=BOTH) as server:
        near = await asked(server, "slm", "phi-4-mni")
        assert "There is no model 'phi-4-mni'. Did you mean Phi-4-mini-instruct-generic-cpu:5?" in near
        assert "There are: slm, llm, embedded, Phi-4-mini-instruct" in near
        two = await asked(server, "embeded", "xyzzy")
        assert "Did you mean embedded?" in two.splitlines()[0]
        assert "Did you mean" not in two.splitlines()[1]


async def test_a_server_that_is_down_is_told_of_with_the_unknown_name() -> None:
    """Its models may be what was meant."""
    with pytest.raises(ModelUnavailable, match=r"no model 'qwen'.*No model server at http://127\.0\.0\.1:9/v1"):
        await aliases(Settings(slm_url=NOBODY), "qwen")


async def test_a_long_list_is_cut() -> None:
    """A cloud lists hundreds."""
    async with model_server(listed=models(*(f"model-{number}" for number in range(100)))) as server:
        assert "model-26 and 73 more" in await asked(server, "xyzzy")


async def test_a_role_without_a_model_is_a_contender_with_a_fault() -> None:
    """It was configured, so it is no typing mistake: it fails, and the others are measured."""
    async with model_server(listed=models("phi-4-mini")) as server:
        for name in ("llm", "gpt-oss-20b"):
            async with contenders(Settings(slm_url=server.url), ["slm", name]) as (slm, llm):
                assert (slm.alias, slm.fault) == ("phi-4-mini", "")
                assert (llm.alias, llm.backend) == ("gpt-oss-20b", None)
                assert llm.fault.startswith("There is no large model: set RAG_LLM_URL")
    async with contenders(Settings(), ["phi-4-mini"]) as (one,):
        assert (one.alias, one.backend) == ("phi-4-mini", None)
        assert one.fault == "No server that was found has phi-4-mini. Set RAG_SLM_URL to one that has."


async def test_another_model_does_not_pass_for_the_one_that_was_wanted() -> None:
    """A server's only model is used whatever its name, and shown under its own."""
    async with model_server(listed=models("tiny-stand-in")) as server:
        assert await aliases(Settings(slm_url=server.url), "slm") == ["tiny-stand-in"]


async def test_a_server_that_lists_nothing_is_asked_for_what_the_settings_say() -> None:
    """It may answer all the same."""
    async with model_server(listed=status(404, {})) as server:
        settings = Settings(slm_url=server.url)
        assert await aliases(settings, "phi-4-mini") == ["phi-4-mini"]
        assert (await aliases(settings))[0] == "phi-4-mini"


async def test_the_same_name_on_two_servers_is_told_apart() -> None:
    """Two rows of one name could not be."""
    async with model_server(listed=models("m")) as one, model_server(listed=models("m")) as two:
        found = await aliases(Settings(slm_url=one.url, llm_url=two.url))
        assert found == ["m", f"m on {two.url}/v1", "SmolLM2-135M-Instruct"]


async def test_the_key_of_a_server_goes_to_its_other_models() -> None:
    """A client of its own for each model, with the same address and key."""
    key = SecretStr("k")
    async with model_server(listed=models("phi-4-mini", "qwen")) as server:
        settings = Settings(slm_url=server.url, slm_api_key=key)
        async with contenders(settings, ["qwen"]) as (one,):
            assert isinstance(one.backend, OpenAICompatible)
            assert (one.backend.url, one.backend._client.api_key) == (f"{server.url}/v1", "k")


async def test_a_file_is_taken_by_its_path(tmp_path: Path) -> None:
    """Under its name; its size is known, its memory only while it runs. One that is not there is refused at once."""
    path = tmp_path / "my-model.Q4_K_M.gguf"
    path.write_bytes(b"x" * 2_500_000)
    async with contenders(Settings(), [str(path)]) as (one,):
        assert isinstance(one.backend, Embedded)
        assert (one.alias, one.disk_mb, one.memory_mb, one.where) == ("my-model", 2.5, None, "this machine")
    with pytest.raises(ModelUnavailable, match=r"There is no file .*gone\.gguf\. Check the path"):
        await aliases(Settings(), str(tmp_path / "gone.gguf"))
    both = Settings(slm_gguf=path, llm_gguf=path)
    assert await aliases(both, "slm", "llm", str(path)) == ["my-model", "my-model on this machine"]


async def test_of_a_server_neither_memory_nor_disk_is_ours_to_see() -> None:
    """Null, not 0."""
    async with model_server(listed=BOTH) as server, contenders(Settings(slm_url=server.url), ["slm"]) as (one,):
        assert (one.memory_mb, one.disk_mb) == (None, None)


async def test_without_any_model_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server, and nothing installed."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    async with contenders(Settings(), ["embedded"]) as (one,):
        assert one.disk_mb is None
    async with contenders(Settings(), []) as found:  # the chat would try it, so it is measured, and fails
        assert [one.alias for one in found] == ["SmolLM2-135M-Instruct"]


@pytest.mark.parametrize("text", [None, "", " , ", "auto", "ALL", "slm,all"])
def test_all_can_be_said_in_several_ways(text: str | None) -> None:
    """The workshop's words for it."""
    assert names_in(text) == []
