"""Foundry Local: found, asked for its models, and followed where it goes."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from rag.backends.base import Done, Text
from rag.backends.choose import Models, choose_models
from rag.backends.embedded import Embedded
from rag.backends.foundry import Service, address_of, find_service, look_at, urls_in
from rag.backends.foundry_local import FoundryLocal
from rag.errors import ModelBroke, ModelError, ModelRefused, ModelUnavailable
from rag.settings import Settings
from tests.conftest import events_of
from tests.foundry_server import GPT, PHI, FoundryServer, foundry_command, foundry_server
from tests.model_server import HEAD, chunk, model_server, models, status

pytestmark = pytest.mark.anyio

MESSAGES = [{"role": "user", "content": "Which port?"}]
posix = pytest.mark.skipif(os.name != "posix", reason="the stub command is a shell script")


@pytest.fixture(autouse=True)
def nothing_on_the_usual_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs on this machine."""
    monkeypatch.setattr("rag.backends.foundry.USUAL_URL", "http://127.0.0.1:9")


async def no_command(command: Sequence[str]) -> str | None:
    """Foundry Local's command is not installed."""
    return None


def local(server: FoundryServer, alias: str = "phi-4-mini", **options: Any) -> FoundryLocal:
    """A model of that service, wherever it is by now."""

    async def find(alias: str, tell: object) -> Service | None:
        return await look_at(server.url + server.prefix)

    return FoundryLocal(alias, find, **options)


async def said(model: FoundryLocal) -> tuple[str, str]:
    """The answer to a question, and the model that the server named."""
    pieces = await events_of(model.stream(MESSAGES, max_tokens=20, temperature=0.0))
    assert isinstance(pieces[-1], Done)
    return "".join(piece.text for piece in pieces if isinstance(piece, Text)).strip(), pieces[-1].model


@pytest.mark.parametrize(
    ("url", "root", "catalogue"),
    [
        ("http://localhost:5273", "http://localhost:5273", ""),
        ("http://localhost:5273/", "http://localhost:5273", ""),
        ("http://localhost:5273/v1", "http://localhost:5273", ""),
        (" http://127.0.0.1:5273/v1/ ", "http://127.0.0.1:5273", ""),
        ("http://127.0.0.1:5273/openai/status", "http://127.0.0.1:5273", ""),
        ("http://127.0.0.1:1/catalogs/local/v1", "http://127.0.0.1:1", "/catalogs/local"),
        ("http://127.0.0.1:1/catalogs/local", "http://127.0.0.1:1", "/catalogs/local"),
    ],
)
def test_an_address_is_the_same_however_much_of_a_path_it_has(url: str, root: str, catalogue: str) -> None:
    """The paths for chats and for loading are made of the root."""
    assert address_of(url) == (root, catalogue)


@pytest.mark.parametrize(
    ("printed", "urls"),
    [
        pytest.param('{"webUrls": ["http://127.0.0.1:60001"]}', ["http://127.0.0.1:60001"], id="json"),
        pytest.param('Using {x}…\n{"a": 1} {"webUrls": ["http://h:1"]}', ["http://h:1"], id="text before it"),
        pytest.param('{"webUrls": [1, null, "no url"]}', [], id="odd addresses"),
        pytest.param('{"webUrls": []}', [], id="not running"),
        pytest.param(
            "🟢 Model management service is running on http://127.0.0.1:5273/openai/status",
            ["http://127.0.0.1:5273/openai/status"],
            id="older",
        ),
        pytest.param("It runs (http://localhost:1).", ["http://localhost:1"], id="punctuation"),
        pytest.param("🔴 The service is not running.", [], id="older, not running"),
        pytest.param("{" * 2000, [], id="nonsense"),
    ],
)
def test_addresses_are_read_from_what_either_command_prints(printed: str, urls: list[str]) -> None:
    """The newer prints JSON, maybe with text before it; the older a sentence."""
    assert urls_in(printed) == urls


async def test_the_endpoint_of_the_settings_is_asked_first() -> None:
    """The commands are not even run."""

    async def run(command: Sequence[str]) -> str | None:
        raise AssertionError(command)

    async with foundry_server() as server:
        found = await find_service(f"{server.url}/v1", run=run)
        assert found == Service(server.url, "", "new")
        assert found.url == f"{server.url}/v1"


@pytest.mark.parametrize("dialect", ["new", "old"])
async def test_a_dead_endpoint_is_made_up_for_by_the_command(dialect: str) -> None:
    """It restarted on another port, which the command knows; the newer command is tried first."""
    asked = []

    async def run(command: Sequence[str]) -> str | None:
        asked.append(command[1])
        if command[1] == "server":
            return f'{{"webUrls": ["{server.url}"]}}' if dialect == "new" else None
        return f"running on {server.url}/openai/status"

    async with foundry_server(dialect=dialect) as server:
        assert await find_service("http://127.0.0.1:9", run=run) == Service(server.url, "", dialect)  # type: ignore[arg-type]
        assert asked == (["server"] if dialect == "new" else ["server", "service"])


async def test_the_usual_port_comes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a service that lists nothing, as one without a network does, is told from something else by its status."""
    async with foundry_server(catalogue={}) as server:
        monkeypatch.setattr("rag.backends.foundry.USUAL_URL", server.url)
        assert await find_service(run=no_command) == Service(server.url)
    for listed in (models(), status(200, {}), status(200, {"data": [{"id": None}]}), b"HTTP/1.1 200 OK\r\n\r\n<html>"):
        async with model_server(listed=listed) as other:
            monkeypatch.setattr("rag.backends.foundry.USUAL_URL", other.url)
            assert await find_service(run=no_command) is None


@posix
@pytest.mark.parametrize("generation", ["new", "old"])
async def test_the_commands_themselves_are_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generation: str
) -> None:
    """Each generation has one command that the other has not, which fails and is passed over."""
    async with foundry_server(dialect=generation) as server:
        told = f'Hello!\n{{"webUrls": ["{server.url}/"]}}' if generation == "new" else f"Running at {server.url}."
        monkeypatch.setenv("PATH", foundry_command(tmp_path / "bin", told, generation=generation))  # type: ignore[arg-type]
        found = await find_service()
        assert found
        assert found.root == server.url


@posix
async def test_a_command_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs its time, and leaves no process behind."""
    monkeypatch.setattr("rag.backends.foundry._COMMAND_S", 0.2)
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "foundry").write_text(f'#!/bin/sh\necho $$ >> "{tmp_path}/pids"\nsleep 60\n')
    (folder / "foundry").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    assert await find_service() is None
    pids = (tmp_path / "pids").read_text().split()
    assert len(pids) == 2
    if sys.platform == "linux":
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


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


@pytest.mark.parametrize(
    "told",
    [
        pytest.param("[[" * 100_000, id="nested"),
        pytest.param("running on http://[::1", id="half an address"),
        pytest.param('{"webUrls": ["http://[::1"]}', id="half an address in JSON"),
        pytest.param("See https://example.org/foundry for help.", id="a manual"),
    ],
)
async def test_whatever_the_command_prints_does_no_harm(told: str) -> None:
    """And nobody but this machine is asked."""

    async def run(command: Sequence[str]) -> str | None:
        return told

    assert await find_service(run=run) is None


@posix
async def test_a_command_that_cannot_be_run_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is no program."""
    (tmp_path / "foundry").write_bytes(b"\x7fELF and nothing more")
    (tmp_path / "foundry").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert await find_service() is None


@posix
async def test_a_command_that_leaves_something_running_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it started holds its output open; what it printed counts."""
    async with foundry_server() as server:
        script = f"#!/bin/sh\nsleep 20 &\necho $! > '{tmp_path}/pid'\necho '{{\"webUrls\": [\"{server.url}\"]}}'\n"
        (tmp_path / "foundry").write_text(script)
        (tmp_path / "foundry").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        began = time.monotonic()
        found = await find_service()
        assert found and found.root == server.url
        assert time.monotonic() - began < 5
        os.kill(int((tmp_path / "pid").read_text()), 9)


async def test_an_endless_page_is_not_read_to_its_end() -> None:
    """A megabyte tells enough."""
    async with model_server(listed=b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + b"x" * 5_000_000) as server:
        assert await look_at(server.url) is None


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


@pytest.mark.parametrize(
    ("listed", "error"),
    [
        pytest.param(status(500, {}), ModelRefused, id="failing"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", ModelBroke, id="a page"),
    ],
)
async def test_a_service_that_lists_nonsense_is_told_of(listed: bytes, error: type[ModelError]) -> None:
    """Not as a traceback."""
    async with model_server(listed=listed) as server:
        with pytest.raises(error, match=r"http://127\.0\.0\.1"):
            await Service(server.url).listed()


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
