"""A model of Foundry Local: loaded by its alias, and followed where the service goes."""

from __future__ import annotations

import asyncio

import pytest

from rag.backends.foundry import Service, look_at
from rag.backends.foundry_local import FoundryLocal
from rag.errors import ModelBroke, ModelRefused, ModelUnavailable
from tests.foundry_kit import local, said
from tests.foundry_server import PHI, foundry_server
from tests.model_server import HEAD, chunk, model_server, models

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_on_the_usual_port")]


@pytest.mark.parametrize("dialect", ["new", "old"])
@pytest.mark.parametrize("prefix", ["", "/catalogs/local"])
async def test_an_alias_is_loaded_and_its_id_answers(dialect: str, prefix: str) -> None:
    """Chats go to the id, which a chat by alias would not reach; the label is what answered."""
    async with foundry_server(dialect=dialect, prefix=prefix) as server:
        model = local(server)
        assert (model.label, model.ready) == ("phi-4-mini", False)
        assert await said(model) == ("Port 5273 is the usual one.", PHI)
        assert (model.label, model.alias, model.ready) == (PHI, "phi-4-mini", True)
        assert server.loaded == {PHI}
        assert server.bodies[0]["model"] == PHI
        await model.stop()


async def test_a_model_that_is_loaded_is_asked_for_once() -> None:
    """By its id not at all, by its alias at the first start: only the service knows which id that is."""
    async with foundry_server(loaded={PHI}) as server:
        for alias, loads in ((PHI, 0), (PHI.rpartition(":")[0], 0), ("phi-4-mini", 1)):
            server.asked.clear()
            model = local(server, alias)
            await model.start()
            await model.start()
            await said(model)
            assert len([path for path in server.asked if "/load/" in path]) == loads
            await model.stop()


FAMILY = {
    "Phi-4-generic-cpu:1": "phi-4",
    PHI: "phi-4-mini",
    "Phi-4-mini-reasoning-generic-cpu:2": "phi-4-mini-reasoning",
    "deepseek-r1-distill-qwen-7b-generic-cpu:3": "deepseek-r1-7b",
}


@pytest.mark.parametrize("loaded", [set(), set(FAMILY), {PHI}, {"Phi-4-mini-reasoning-generic-cpu:2"}])
@pytest.mark.parametrize("known", list(FAMILY))
async def test_an_alias_is_never_taken_for_another_model(known: str, loaded: set[str]) -> None:
    """phi-4 is the beginning of phi-4-mini's name, and deepseek-r1-7b of no name at all."""
    async with foundry_server(catalogue=FAMILY, downloaded=set(FAMILY), loaded=set(loaded)) as server:
        for _ in range(2):  # the second finds it loaded
            model = local(server, FAMILY[known])
            assert (await said(model))[1] == known
            assert (await said(model))[1] == known
            await model.stop()


async def test_a_service_that_restarted_on_another_port_is_found_again() -> None:
    """The question is asked once more, and the reader sees nothing of it."""
    async with foundry_server() as server:
        model = local(server)
        await said(model)
        first = server.url
        await server.close()
        await server.open()
        assert server.url != first
        assert (await said(model))[1] == PHI
        assert server.url in model.where
        await model.stop()


async def test_a_model_that_the_service_unloaded_is_loaded_again() -> None:
    """'Must be loaded' is a 400, which is no fault of the question."""
    async with foundry_server() as server:
        model = local(server)
        await said(model)
        server.loaded.clear()
        assert (await said(model))[1] == PHI
        server.loaded.clear()
        await model.start()
        assert server.loaded == {PHI}
        await model.stop()


async def test_a_service_that_is_gone_is_told_of_and_comes_back() -> None:
    """With the remedy; the next question finds it."""
    async with foundry_server() as server:
        model = local(server)
        await said(model)
        await server.close()
        with pytest.raises(ModelUnavailable, match=r"No Foundry Local at http://127\.0\.0\.1:\d+\. Start it"):
            await said(model)
        await server.open()
        assert (await said(model))[1] == PHI
        await model.stop()


async def test_a_service_gives_way_on_its_port_and_is_found_elsewhere() -> None:
    """What lives there now sends a page to whoever asks."""
    async with foundry_server() as server:
        model = local(server)
        await said(model)
        port = int(server.url.rpartition(":")[2])
        await server.close()
        page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"
        async with model_server([page], listed=page, port=port):
            await server.open()
            assert (await said(model))[1] == PHI
            await model.stop()


async def test_an_answer_that_has_begun_is_not_asked_for_again() -> None:
    """The reader would see it twice."""
    async with model_server([HEAD, chunk("It is")], listed=models("phi-4-mini")) as server:

        async def find(alias: str, tell: object) -> Service | None:
            return await look_at(server.url)

        model = FoundryLocal("phi-4-mini", find)
        with pytest.raises(ModelBroke, match="stopped in mid-answer"):
            await said(model)
        assert len(server.bodies) == 1
        await model.stop()


async def test_a_look_at_a_busy_service_does_not_break_an_answer() -> None:
    """A model that is lost meanwhile is let go of when its readers are done."""
    async with foundry_server(answer="one two three four five", pause_s=0.05) as server:
        model = local(server)
        await model.start()
        answer = asyncio.create_task(said(model))
        while not server.busy:
            await asyncio.sleep(0.01)
        server.loaded.clear()
        await model.start()
        assert (await answer)[0] == "one two three four five"
        assert (await said(model))[1] == PHI
        await model.stop()


async def test_one_question_is_answered_at_a_time() -> None:
    """By both models of a service together, unless somebody wants it otherwise."""
    for turn, most in ((asyncio.Lock(), 1), (None, 2)):
        async with foundry_server(pause_s=0.02) as server:
            small, large = local(server, turn=turn), local(server, "gpt-oss-20b", turn=turn)
            await asyncio.gather(small.start(), large.start())
            await asyncio.gather(said(small), said(large))
            assert server.most_at_once == most
            await small.stop()
            await large.stop()


@pytest.mark.parametrize(
    ("alias", "says"),
    [
        pytest.param("phi-4-mimi", f"Did you mean {PHI}?", id="mistyped"),
        pytest.param("zzz", "foundry model download zzz", id="unknown"),
        pytest.param(
            "gpt-oss-20b", "is not downloaded. Download it with: foundry model download gpt-oss-20b.", id="kept"
        ),
    ],
)
async def test_a_model_that_cannot_be_loaded_is_told_of_with_the_remedy(alias: str, says: str) -> None:
    """Unknown: the nearest; known but not on the disk: the command."""
    async with foundry_server(downloaded={PHI}) as server:
        model = local(server, alias)
        with pytest.raises(ModelRefused) as error:
            await model.start()
        assert says in str(error.value)
        assert not model.ready


async def test_what_is_being_loaded_can_be_told() -> None:
    """While it lasts."""
    async with foundry_server(load_s=0.2) as server:
        model = local(server)
        work = asyncio.create_task(model.start())
        await asyncio.sleep(0.05)
        assert model.loading == "Loading phi-4-mini into Foundry Local …"
        assert not model.ready
        await work
        assert model.ready
        await model.stop()
