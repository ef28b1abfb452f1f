"""Which downloaded file answers, what wins over it, and what is said when it cannot."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from rag.assistant import build_assistant
from rag.backends.choose import choose_models
from rag.backends.chosen import Kept, ModelsFolder, chosen_file, overridden_by
from rag.backends.embedded import Embedded
from rag.backends.foundry_local import FoundryLocal
from rag.check import look_at
from rag.errors import DownloadError
from rag.settings import Settings
from tests.model_server import model_server, models

pytestmark = pytest.mark.anyio

BYTES = b"GGUF and the rest"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelsFolder:
    """A folder with two files, of which none is chosen; and no Foundry Local near."""
    monkeypatch.setattr("rag.backends.foundry.USUAL_URL", "http://127.0.0.1:9")
    folder = ModelsFolder(tmp_path / ".models")
    for name in ("one", "two"):
        folder.path.mkdir(exist_ok=True)
        (folder.path / f"{name}.gguf").write_bytes(BYTES)
        folder.keep(kept(name), "slm")
    folder.choose(None, "slm")
    return folder


def kept(name: str) -> Kept:
    """The note of a file."""
    return Kept(name, f"{name}.gguf", len(BYTES), "0" * 64, f"someone/{name}", "a" * 40)


def labels(found: object) -> tuple[str, str | None]:
    """Who answers as SLM and LLM."""
    return found.slm.label, found.llm.label if found.llm else None  # type: ignore[attr-defined]


async def test_chosen_files_answer_in_their_roles(folder: ModelsFolder) -> None:
    """Both in llama.cpp, the LLM on first need; and they read all of the evidence."""
    folder.choose("one", "slm")
    folder.choose("two", "llm")
    found = await choose_models(Settings(models_dir=folder.path))
    assert isinstance(found.slm, Embedded)
    assert isinstance(found.llm, Embedded)
    assert (labels(found), found.faults, found.no_llm) == (("one", "two"), (), "")
    assert (found.slm.shipped, found.most_sentences) == (False, None)


async def test_nothing_chosen_means_the_embedded_model(folder: ModelsFolder) -> None:
    """A file that merely lies there answers nothing; neither does one where the folder is none."""
    for settings in (Settings(models_dir=folder.path), Settings(models_dir=None)):
        found = await choose_models(settings)
        assert labels(found) == ("SmolLM2-135M-Instruct", None)
        assert "python -m rag models" in found.no_llm


async def test_settings_win_over_chosen_files(folder: ModelsFolder, tmp_path: Path) -> None:
    """Each in its role, and it is told which."""
    folder.choose("one", "slm")
    folder.choose("two", "llm")
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(BYTES)
    here = {"models_dir": folder.path}
    async with model_server(listed=models("served")) as server:
        for settings, roles, above in (
            (Settings(slm_gguf=mine, **here), ("mine", "two"), ("RAG_SLM_GGUF", None)),
            (Settings(slm_url=server.url, **here), ("served", "two"), ("RAG_SLM_URL", None)),
            (
                Settings(foundry_local_endpoint=server.url, **here),
                ("phi-4-mini", "two"),
                ("FOUNDRY_LOCAL_ENDPOINT", None),
            ),
            (Settings(foundry="embed", **here), ("phi-4-mini", "two"), ("RAG_FOUNDRY", None)),
            (Settings(llm_gguf=mine, **here), ("one", "mine"), (None, "RAG_LLM_GGUF")),
            (Settings(llm_url=server.url, **here), ("one", "served"), (None, "RAG_LLM_URL")),
        ):
            assert labels(await choose_models(settings)) == roles
            assert (overridden_by(settings, "slm"), overridden_by(settings, "llm")) == above


async def test_a_chosen_file_wins_over_a_service_that_is_merely_found(
    folder: ModelsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody asked for the file; nobody asked for the service."""
    async with model_server(listed=models("phi-4-mini", "gpt-oss-20b")) as server:
        monkeypatch.setattr("rag.backends.foundry.USUAL_URL", server.url)
        folder.choose("one", "llm")
        found = await choose_models(Settings(models_dir=folder.path))
        assert isinstance(found.slm, FoundryLocal)
        assert labels(found) == ("phi-4-mini", "one")
        folder.choose("two", "slm")
        assert labels(await choose_models(Settings(models_dir=folder.path))) == ("two", "one")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        pytest.param(None, "is gone.", id="gone"),
        pytest.param(BYTES[:-1], "is damaged: it has 16 bytes, not 17.", id="cut"),
        pytest.param(b"HTML and the rest", "is damaged: it does not begin as a .gguf file does.", id="other"),
    ],
)
async def test_a_chosen_file_that_cannot_answer_is_passed_over_with_a_fault(
    folder: ModelsFolder, content: bytes | None, what: str
) -> None:
    """The next one in the order answers."""
    folder.choose("one", "slm")
    folder.choose("one", "llm")
    place = folder.path / "one.gguf"
    place.unlink()
    if content is not None:
        place.write_bytes(content)
    fault = f"The model file {place} {what} Run python -m rag models get one, or python -m rag models drop one."
    found = await choose_models(Settings(models_dir=folder.path))
    assert (labels(found), found.faults) == (("SmolLM2-135M-Instruct", None), (fault,))


async def test_a_fault_of_a_file_stays_until_the_next_start(folder: ModelsFolder, docs: Path) -> None:
    """A new chat looks again at servers, which come and go; a file that is gone is gone. The check shows it."""
    async with model_server() as server:
        folder.choose("one", "llm")
        (folder.path / "one.gguf").unlink()
        settings = Settings(models_dir=folder.path, docs_dir=docs, by_meaning=False, slm_url=server.url)
        assistant = build_assistant(settings)
        try:
            await assistant.start()
            assert len(assistant.faults) == 1
            await assistant.look_again()
            assert "one.gguf is gone" in assistant.faults[0]
            found = {finding.name: finding for finding in await look_at(assistant)}
            assert (found["model file"].state, found["SLM"].state) == ("fault", "ok")
            assert "python -m rag models get one" in found["model file"].text
        finally:
            await assistant.stop()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{", id="no JSON"),
        pytest.param("[]", id="a list"),
        pytest.param('{"files": [{"name": "one"}], "roles": {}}', id="a note without its parts"),
        pytest.param('{"files": []}', id="no roles"),
    ],
)
async def test_a_state_file_that_cannot_be_read_is_a_fault(folder: ModelsFolder, text: str) -> None:
    """It says which, and what to do; the embedded model answers."""
    (folder.path / "chosen.json").write_text(text)
    found = await choose_models(Settings(models_dir=folder.path))
    assert labels(found) == ("SmolLM2-135M-Instruct", None)
    assert len(found.faults) == 1
    assert found.faults[0].startswith(f"{folder.path / 'chosen.json'} cannot be read")
    with pytest.raises(DownloadError, match="Delete it, and run python -m rag models get"):
        folder.choose("one", "slm")


def test_a_state_file_cannot_lead_out_of_its_folder(folder: ModelsFolder) -> None:
    """Whoever wrote that is not we."""
    state = folder.path / "chosen.json"
    state.write_text(state.read_text().replace("one.gguf", "../one.gguf"))
    assert set(folder.read().kept) == {"two"}


def test_what_is_not_there_cannot_be_chosen(folder: ModelsFolder, tmp_path: Path) -> None:
    """Neither a file that never came, nor one that is damaged; and nothing is written for it."""
    with pytest.raises(DownloadError, match=r"three is not downloaded\. Run python -m rag models get three --as llm"):
        folder.choose("three", "llm")
    (folder.path / "one.gguf").write_bytes(b"")
    with pytest.raises(DownloadError, match=r"one\.gguf is damaged"):
        folder.choose("one", "slm")
    assert folder.read().roles == {}
    empty = ModelsFolder(tmp_path / "empty")
    empty.choose(None, "slm")
    assert not empty.path.exists()
    assert chosen_file(empty.path, "slm") == (None, "")


def test_choices_made_at_the_same_time_are_all_kept(folder: ModelsFolder) -> None:
    """One after the other changes the state file."""
    names = [f"model-{number}" for number in range(12)]
    threads = [threading.Thread(target=folder.keep, args=(kept(name), "slm")) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(folder.read().kept) == {*names, "one", "two"}
    assert folder.read().roles["slm"] in names
