"""A Foundry Local service: found on this machine, and asked for what it has."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from rag.backends.foundry import Service, address_of, find_service, look_at, urls_in
from rag.errors import ModelBroke, ModelError, ModelRefused
from tests.foundry_kit import no_command
from tests.foundry_server import foundry_command, foundry_server
from tests.model_server import model_server, models, status

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_on_the_usual_port")]
posix = pytest.mark.skipif(os.name != "posix", reason="the stub command is a shell script")


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
