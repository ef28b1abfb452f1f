"""From the hub into the folder: what is refused before a byte comes, and what is noted when all have come."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rag.backends.chosen import ModelsFolder, held
from rag.errors import DownloadError
from rag.fetching import Fetched, drop, fetch, needed_memory, parts
from rag.gguf import Gguf, find
from rag.hub import Hub
from rag.machine import Memory
from tests.hub_server import HubServer, hub_server

MODEL = Gguf("tiny", "slm", "someone/tiny-GGUF", "tiny.gguf", 3_000, 100, "mit", "for tests")
BYTES = b"GGUF" + bytes(range(256)) * 12
SHA256 = hashlib.sha256(BYTES).hexdigest()
PLENTY = Memory(64_000_000_000, 32_000_000_000)


@pytest.fixture
def server() -> Iterator[HubServer]:
    """A hub that has the file."""
    with hub_server(BYTES) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> ModelsFolder:
    """A folder that is not there yet."""
    return ModelsFolder(tmp_path / "models")


def got(
    server: HubServer | None, folder: ModelsFolder, model: Gguf = MODEL, **options: Any
) -> tuple[Fetched, list[str]]:
    """Fetch it, and what was warned of."""
    warnings: list[str] = []
    usual: dict[str, Any] = {"role": "slm", "memory": PLENTY, "free_disk": 10**12}
    with Hub(server.url if server else "http://127.0.0.1:9", silence_s=0.25, pause_s=0.001) as hub:
        done = fetch(
            model, hub=hub, folder=folder, progress=lambda *step: None, warn=warnings.append, **usual | options
        )
    return done, warnings


def test_what_came_is_noted_and_chosen_and_nothing_else_is_left(server: HubServer, folder: ModelsFolder) -> None:
    """The file, and the note of where it is from, what it is and what it does."""
    done, warnings = got(server, folder)
    assert (done.fresh, warnings) == (True, [])
    assert folder.file(done.kept).read_bytes() == BYTES
    assert {one.name for one in folder.path.iterdir()} == {"tiny.gguf", "chosen.json"}
    state = json.loads((folder.path / "chosen.json").read_text())
    assert state["roles"] == {"slm": "tiny"}
    assert state["files"] == [
        {"name": "tiny", "file": "tiny.gguf", "bytes": len(BYTES), "sha256": SHA256, "repo": MODEL.repo,
         "revision": server.revision}
    ]  # fmt: skip


def test_a_file_that_is_there_and_whole_needs_no_hub(server: HubServer, folder: ModelsFolder) -> None:
    """Asked for again, it is only chosen, for the role that is asked for."""
    got(server, folder)
    done, _ = got(None, folder, role="llm")
    assert not done.fresh
    assert folder.read().roles == {"slm": "tiny", "llm": "tiny"}


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(BYTES[:100], id="cut"),
        pytest.param(BYTES[:-1] + b"?", id="one byte"),
        pytest.param(None, id="gone"),
    ],
)
def test_a_file_that_is_damaged_comes_anew(server: HubServer, folder: ModelsFolder, damaged: bytes | None) -> None:
    """The one that is there stays until the new one is whole."""
    done, _ = got(server, folder)
    place = folder.file(done.kept)
    place.unlink()
    if damaged:
        place.write_bytes(damaged)
    with pytest.raises(DownloadError, match="cannot be reached"):
        got(None, folder)
    assert (place.read_bytes() if place.exists() else None) == damaged
    done, warnings = got(server, folder)
    assert done.fresh
    assert place.read_bytes() == BYTES
    assert [warning.split(" is ")[0] for warning in warnings] == [f"The model file {place}"]


def test_a_file_whose_note_is_lost_is_checked_and_noted_again(server: HubServer, folder: ModelsFolder) -> None:
    """The hub says its checksum; its bytes are not asked for."""
    got(server, folder)
    (folder.path / "chosen.json").unlink()
    done, _ = got(server, folder)
    assert not done.fresh
    assert len(server.downloads) == 1
    assert folder.read().of("slm") == done.kept


def test_without_a_network_nothing_is_changed(folder: ModelsFolder) -> None:
    """Not even a folder is made."""
    with pytest.raises(DownloadError, match="Is there a network"):
        got(None, folder)
    assert not folder.path.exists()


def test_what_is_interrupted_is_gone_on_with_and_the_beginning_of_another_state_is_not(
    server: HubServer, folder: ModelsFolder
) -> None:
    """A part is for one checksum."""
    folder.path.mkdir()
    (folder.path / ".tiny.gguf.0123456789abcdef.part").write_bytes(b"of another state")
    server.cut = [1000, *[0] * 9]
    with pytest.raises(DownloadError, match="The same command goes on from there"):
        got(server, folder)
    assert [part.stat().st_size for part in parts(MODEL, folder)] == [1000]
    server.cut = []
    assert got(server, folder)[0].fresh
    assert [one.headers["range"] for one in server.downloads[-2:]] == ["bytes=1000-", "bytes=1000-"]
    assert parts(MODEL, folder) == []


def test_what_is_not_what_the_hub_said_is_not_kept(server: HubServer, folder: ModelsFolder) -> None:
    """Neither the bytes nor a note of them."""
    server.sha256 = "0" * 64
    with pytest.raises(DownloadError, match=r"SHA-256 differs\. It was deleted"):
        got(server, folder)
    assert list(folder.path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        pytest.param({"free_disk": 200_000_000}, "which has 200 MB free. Nothing was downloaded. Make room", id="disk"),
        pytest.param(
            {"memory": Memory(1_000_000_000, 900_000_000), "model": find("phi-4-mini")},
            "phi-4-mini needs about 1.3 GB of memory, and this machine has 1.0 GB in all. Nothing was downloaded; "
            "--force downloads it all the same.",
            id="memory",
        ),
    ],
)
def test_too_small_a_machine_is_refused_before_a_byte_comes(
    server: HubServer, folder: ModelsFolder, options: dict[str, Any], sentence: str
) -> None:
    """What is needed, what there is, and what to do."""
    with pytest.raises(DownloadError) as raised:
        got(server, folder, **options)
    assert sentence in str(raised.value)
    assert server.downloads == []
    assert not folder.path.exists()


@pytest.mark.parametrize(
    ("memory", "force", "warning"),
    [
        pytest.param(Memory(None, None), False, "how much this machine has is not known here.", id="not known"),
        pytest.param(Memory(8_000_000_000, 1_000_000_000), False, "1.0 GB are free now: close", id="in use"),
        pytest.param(Memory(1_000_000_000, 900_000_000), True, "it will be very slow, or not load.", id="forced"),
        pytest.param(Memory(8_000_000_000, None), False, "", id="total alone"),
    ],
)
def test_what_memory_may_be_short_is_warned_of(
    server: HubServer, folder: ModelsFolder, memory: Memory, force: bool, warning: str
) -> None:
    """And it is downloaded all the same."""
    done, warnings = got(server, folder, find("phi-4-mini"), memory=memory, force=force)
    assert done.fresh
    assert warning in "".join(warnings)
    assert bool(warnings) == bool(warning)


def test_two_models_that_do_not_fit_together_are_warned_of(server: HubServer, folder: ModelsFolder) -> None:
    """Each fits alone; the SLM stays loaded beside the LLM."""
    one, other = find("smollm2-1.7b"), find("phi-4-mini")
    small = Memory(needed_memory(one, len(BYTES)) + 100_000_000, None)
    assert got(server, folder, one, memory=small)[1] == []
    warnings = got(server, folder, other, role="llm", memory=small)[1]
    assert warnings[0].startswith("phi-4-mini and smollm2-1.7b, the SLM, need about 3.0 GB of memory together")


def test_two_downloads_of_one_file_at_once_are_refused(server: HubServer, folder: ModelsFolder) -> None:
    """They would write into each other; deleting it meanwhile is refused too."""
    folder.path.mkdir()
    (folder.path / ".tiny.gguf.0123456789abcdef.part").write_bytes(b"begun")
    with held(folder.path / ".tiny.gguf.lock") as ours:
        assert ours
        with pytest.raises(DownloadError, match="Another process is downloading tiny"):
            got(server, folder)
        with pytest.raises(DownloadError, match="Another process is downloading tiny"):
            drop(MODEL, folder)
    assert server.downloads == []
    assert got(server, folder)[0].fresh


def test_a_folder_that_cannot_be_made_is_a_sentence(server: HubServer, tmp_path: Path) -> None:
    """Here because a file is in its place."""
    (tmp_path / "models").write_text("a file")
    with pytest.raises(DownloadError, match=r"models/inside cannot be written .*set RAG_MODELS_DIR"):
        got(server, ModelsFolder(tmp_path / "models" / "inside"))


def test_dropping_deletes_the_file_its_beginnings_and_its_roles(server: HubServer, folder: ModelsFolder) -> None:
    """And what was never there cannot be dropped."""
    got(server, folder)
    got(server, folder, role="llm")
    (folder.path / ".tiny.gguf.0123456789abcdef.part").write_bytes(b"begun")
    assert drop(MODEL, folder) == ["slm", "llm"]
    assert [one.name for one in folder.path.iterdir()] == ["chosen.json"]
    assert folder.read().roles == {}
    with pytest.raises(DownloadError, match="tiny is not downloaded, so there is nothing to delete"):
        drop(MODEL, folder)
