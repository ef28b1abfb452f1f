"""Which part Foundry Local has in a run."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from rag.backends.choose import Models, choose_models
from rag.backends.embedded import Embedded
from rag.backends.foundry import find_service
from rag.backends.foundry_local import FoundryLocal
from rag.errors import ModelUnavailable
from rag.settings import Settings
from tests.foundry_kit import no_command, said
from tests.foundry_server import GPT, PHI, FoundryServer, foundry_server
from tests.model_server import model_server

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_on_the_usual_port")]


async def chosen(**settings: object) -> Models:
    """The models with these settings, the small one started."""
    found = await choose_models(Settings(**settings))  # type: ignore[arg-type]
    if isinstance(found.slm, FoundryLocal):
        await found.slm.start()
    return found


async def test_both_models_of_the_workshop_come_from_one_service() -> None:
    """The large one is loaded on first need, and one question is answered at a time."""
    async with foundry_server() as server:
        found = await chosen(foundry_local_endpoint=server.url)
        assert (found.slm.label, found.at_once, found.faults) == (PHI, 1, ())
        assert found.slm.where == f"Foundry Local ({server.url}/v1)"
        assert isinstance(found.llm, FoundryLocal)
        assert (found.llm.ready, server.loaded) == (False, {PHI})
        assert (await said(found.llm))[1] == GPT
        await found.slm.stop()
        await found.llm.stop()


async def test_without_the_large_model_in_its_list_there_is_none() -> None:
    """And the page says how to get one."""
    async with foundry_server(catalogue={PHI: "phi-4-mini"}) as server:
        found = await chosen(foundry_local_endpoint=server.url)
        assert found.llm is None
        assert "There is no large model" in found.no_llm
        await found.slm.stop()


async def test_a_found_service_without_the_small_model_does_not_take_the_embedded_models_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody configured it; what is missing is said, with the command."""
    async with foundry_server(catalogue={GPT: "gpt-oss-20b"}) as server:
        monkeypatch.setattr("rag.backends.foundry.USUAL_URL", server.url)
        found = await chosen()
        assert isinstance(found.slm, Embedded)
        assert "foundry model download phi-4-mini" in found.faults[0]
        assert isinstance(found.llm, FoundryLocal)
        configured = await choose_models(Settings(foundry_local_endpoint=server.url))
        assert isinstance(configured.slm, FoundryLocal)


async def test_it_is_not_looked_for_when_it_is_off_or_when_both_models_are_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """RAG_FOUNDRY=off; other servers."""
    async with foundry_server() as server, model_server() as other:
        monkeypatch.setattr("rag.backends.foundry.USUAL_URL", server.url)
        assert isinstance((await chosen(foundry="off")).slm, Embedded)
        assert (await chosen(slm_url=other.url, llm_url=other.url)).slm.label == "served-model"
        assert not server.asked


async def test_an_endpoint_that_is_down_is_kept_with_a_fault_and_found_later() -> None:
    """Nothing else is silently put in its place."""
    server = FoundryServer()
    await server.open()
    await server.close()
    found = await choose_models(Settings(foundry_local_endpoint=server.url))
    assert isinstance(found.slm, FoundryLocal)
    assert f"No Foundry Local at {server.url}" in found.faults[0]
    await server.open(int(server.url.rpartition(":")[2]))
    await found.slm.start()
    assert found.slm.label == PHI
    await found.slm.stop()
    await server.close()


async def test_a_service_elsewhere_than_configured_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """On this machine it is used; another machine's has not moved to this one."""
    async with foundry_server() as server:
        monkeypatch.setattr("rag.backends.foundry.USUAL_URL", server.url)
        found = await chosen(foundry_local_endpoint="http://127.0.0.1:9", slm_api_key=SecretStr("k"))
        assert found.faults == (
            "FOUNDRY_LOCAL_ENDPOINT http://127.0.0.1:9 does not answer; "
            f"Foundry Local was found at {server.url} and is used.",
        )
        await found.slm.stop()
        assert await find_service("http://192.0.2.1:9", run=no_command) is None


async def test_a_password_in_the_address_is_not_shown() -> None:
    """Neither where it runs, nor in what goes wrong."""
    async with foundry_server() as server:
        secret = server.url.replace("http://", "http://me:s3cret@")
        found = await choose_models(Settings(foundry_local_endpoint=secret))
        await found.slm.start()
        assert "s3cret" not in found.slm.where
        await server.close()
        with pytest.raises(ModelUnavailable) as error:
            await said(found.slm)  # type: ignore[arg-type]
        assert "s3cret" not in str(error.value)
        await found.slm.stop()
