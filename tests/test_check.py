"""The check: what it finds, and for each fault what mends it."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rag.assistant import Assistant, build_assistant
from rag.backends.base import Backend
from rag.backends.endpoint import fault_of, loaded_models
from rag.backends.openai_compatible import OpenAICompatible
from rag.backends.scripted import Script, ScriptedBackend
from rag.check import index_of, look_at, memory_for, trace_of
from rag.errors import ModelBroke, ModelUnavailable
from rag.homes import home_of
from rag.machine import Memory, memory, resident, size_of, sized
from rag.probing import Finding, look_at_model
from rag.settings import Settings
from tests.model_server import ANSWER, DONE, HEAD, Step, chunk, models, status, thought, usage

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"
LISTS = "/v1/models"
BOTH = models("phi-4-mini", "gpt-oss-20b")
PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 20\r\n\r\n<html>Welcome</html>"
Routes = Mapping[str, list[Step]]
Make = Callable[..., Assistant]


@asynccontextmanager
async def routed(routes: Routes, tls: ssl.SSLContext | None = None) -> AsyncGenerator[str, None]:
    """A server on loopback that answers by path; 404 elsewhere."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await reader.readexactly(1)
            if first == b"\x16":  # TLS, which most servers refuse at once
                writer.write(status(400, {}))
                return
            head = first + await reader.readuntil(b"\r\n\r\n")
            path = head.decode("latin-1").split(" ")[1]
            for step in routes.get(path, [status(404, {"error": {"message": "no such path"}})]):
                if isinstance(step, bytes):
                    writer.write(step)
                    await writer.drain()
                else:
                    await asyncio.sleep(step)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls) as listener:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def remote(url: str, model: str = "phi-4-mini", **options: Any) -> AsyncGenerator[OpenAICompatible, None]:
    """A client, started if it can be."""
    backend = OpenAICompatible(url, model, **options)
    try:
        yield backend
    finally:
        await backend.stop()


async def found_of(backend: Backend, wanted: str = "phi-4-mini", **options: Any) -> Finding:
    """What the check finds of a model."""
    return await look_at_model("SLM", backend, wanted=wanted, **options)


async def test_a_server_that_is_well_is_told_with_all_that_it_can() -> None:
    """Its models, its first text, and whether it streams, counts and gives log-probabilities."""
    async with routed({LISTS: [BOTH], CHAT: ANSWER}) as host, remote(f"http://{host}") as backend:
        found = await found_of(backend)
    assert found.state == "ok"
    assert "streams, counts its tokens, gives log-probabilities" in found.text
    assert found.text.endswith("Its server lists 2 models: phi-4-mini, gpt-oss-20b")
    details = found.details
    assert details.pop("ttft_ms") >= 0
    assert details == {
        "model": "phi-4-mini", "where": f"http://{host}/v1", "wanted": "phi-4-mini", "listed": True, "loaded": None,
        "models": ["phi-4-mini", "gpt-oss-20b"], "in_memory": None, "streams": True,
        "usage": {"prompt": 7, "completion": 2}, "logprobs": True,
    }  # fmt: skip


async def test_what_a_server_does_not_give_is_told_too() -> None:
    """Null log-probabilities, no usage, and an answer all at once."""
    whole = [HEAD, chunk("Hello there, you"), chunk(finish="stop"), usage(3, 4), DONE]
    async with routed({LISTS: [BOTH], CHAT: whole}) as host, remote(f"http://{host}") as backend:
        text = (await found_of(backend)).text
    assert "sends all at once, not streamed, counts its tokens, gives no log-probabilities (null)" in text
    bare = [HEAD, chunk("Hello"), chunk(" there"), chunk(finish="stop"), DONE]
    async with routed({LISTS: [BOTH], CHAT: bare}) as host, remote(f"http://{host}") as backend:
        found = await found_of(backend)
    assert "streams, does not count its tokens" in found.text
    assert found.details["usage"] is None


@pytest.mark.parametrize(
    ("path", "answer", "loaded"),
    [
        pytest.param("/models/loaded", status(200, ["Phi-4-mini:5"]), ["Phi-4-mini:5"], id="Foundry Local"),
        pytest.param("/openai/loadedmodels", status(200, ["phi-4-mini"]), ["phi-4-mini"], id="an older one"),
        pytest.param("/api/ps", status(200, {"models": [{"name": "llama3.2:3b"}]}), ["llama3.2:3b"], id="Ollama"),
        pytest.param(
            "/api/v0/models",
            status(200, {"data": [{"id": "a", "state": "loaded"}, {"id": "b", "state": "not-loaded"}]}),
            ["a"], id="LM Studio",
        ),
        pytest.param("/models/loaded", status(200, []), [], id="none is loaded"),
        pytest.param("/models/loaded", status(200, {"x": 1}), None, id="another shape"),
        pytest.param("/models/loaded", PAGE, None, id="a page"),
        pytest.param("/nothing", BOTH, None, id="not to be asked"),
    ],
)  # fmt: skip
async def test_which_models_are_loaded_is_asked_where_it_can_be(
    path: str, answer: bytes, loaded: list[str] | None
) -> None:
    """None is 'not known', and never 'none'."""
    async with routed({path: [answer]}) as host:
        assert await loaded_models(f"http://{host}/v1") == loaded


async def test_with_a_limit_nothing_is_loaded_for_the_check() -> None:
    """A model that its server has not in memory is not asked; without a limit it is."""
    asked = {LISTS: [BOTH], "/models/loaded": [status(200, ["gpt-oss-20b"])], CHAT: ANSWER}
    async with routed(asked) as host, remote(f"http://{host}") as backend:
        quick = await found_of(backend, limit_s=8)
        slow = await found_of(backend)
    assert "phi-4-mini on" in quick.text
    assert "not loaded; the first question loads it. Its server lists 2 models" in quick.text
    assert quick.text.endswith("loaded: gpt-oss-20b")
    assert "ttft_ms" not in quick.details
    assert "first text after" in slow.text
    idle = ScriptedBackend("Hello there.")
    idle.ready = False
    assert (await found_of(idle, limit_s=8)).state == "ok"
    assert idle.requests == []


async def test_a_model_that_only_thinks_in_the_few_tokens_streams_too() -> None:
    """Its first thought is told, and not as the time of a text."""
    script = [HEAD, thought("Hm"), thought(","), thought(" so"), chunk(finish="length"), usage(10, 4), DONE]
    async with routed({LISTS: [BOTH], CHAT: script}) as host, remote(f"http://{host}") as backend:
        found = await found_of(backend)
    assert (found.state, found.details["streams"], found.details["ttft_ms"]) == ("ok", True, None)
    assert "first thought after" in found.text
    assert ", streams, counts its tokens, reasons at first" in found.text
    assert "first text" not in found.text


async def test_a_server_that_is_slow_is_not_waited_for_beyond_the_limit() -> None:
    """A fault, unless it is busy with an answer of ours."""
    async with routed({LISTS: [BOTH], CHAT: [HEAD, 5.0]}) as host, remote(f"http://{host}") as backend:
        idle = await found_of(backend, limit_s=0.3)
        busy = await found_of(backend, limit_s=0.3, busy=True)
    assert (idle.state, busy.state) == ("fault", "missing")
    assert "sent nothing within 0.3 s. It may be loading its model" in idle.text
    assert "it is writing an answer. Check again when it is done." in busy.text


async def test_an_unknown_model_is_told_with_what_there_is() -> None:
    """And with the nearest name."""
    refused = [status(404, {"error": {"message": "model not found"}})]
    listed = models("Phi-4-mini-instruct", "gpt-oss-20b", "a", "b", "c", "d")
    async with routed({LISTS: [listed], CHAT: refused}) as host, remote(f"http://{host}", "fi-4-mini") as backend:
        found = await found_of(backend, wanted="fi-4-mini")
    assert found.state == "fault"
    assert "does not know 'fi-4-mini' (404). Set RAG_SLM_MODEL to one that it lists." in found.text
    assert "It lists 6 models: Phi-4-mini-instruct, gpt-oss-20b, a, b, c and 1 more." in found.text
    assert found.text.endswith("Did you mean Phi-4-mini-instruct?")


@pytest.mark.parametrize(
    ("routes", "path", "message"),
    [
        pytest.param({LISTS: [BOTH], CHAT: ANSWER}, "", "", id="without /v1"),
        pytest.param({LISTS: [BOTH], CHAT: ANSWER}, "/", "", id="a slash at the end"),
        pytest.param({LISTS: [BOTH], CHAT: ANSWER}, "/v1/", "", id="/v1 and a slash"),
        pytest.param(
            {LISTS: [BOTH], CHAT: ANSWER}, "/api",
            "/api is not the address of its models (404). Set RAG_SLM_URL to http://{host}/v1.", id="another path",
        ),
        pytest.param(
            {"/openai/v1/models": [BOTH]}, "/openai",
            "/openai is not the address of its models (404). Set RAG_SLM_URL to http://{host}/openai/v1.",
            id="/v1 below it",
        ),
        pytest.param(
            {LISTS: [BOTH], CHAT: ANSWER}, "/v1/chat/completions", "Set RAG_SLM_URL to http://{host}/v1.",
            id="the address of a request",
        ),
        pytest.param(
            {LISTS: [PAGE], CHAT: [PAGE]}, "/v1",
            "http://{host}/v1 answers with a web page, as for a browser, and not as a model server. Set RAG_SLM_URL to "
            "the address of a model server.", id="a web page",
        ),
        pytest.param(
            {"/ui/models": [PAGE], "/ui/chat/completions": [PAGE]}, "/ui/",
            "Set RAG_SLM_URL to the address of the server's API, which often ends in /v1.", id="a page elsewhere",
        ),
        pytest.param(
            {"/ui/models": [PAGE], "/ui/chat/completions": [PAGE], LISTS: [BOTH]}, "/ui",
            "and not as a model server. Set RAG_SLM_URL to http://{host}/v1.", id="a web page beside the API",
        ),
        pytest.param(
            {LISTS: [status(200, {"hello": 1})], CHAT: [status(200, {"hello": 1})]}, "/v1",
            "answers, but not as a model server (200)", id="another API",
        ),
        pytest.param(
            {
                LISTS: [status(301, {}, Location="https://user:secret@elsewhere/v1/models?key=secret")],
                CHAT: [status(301, {}, Location="https://elsewhere/")],
            },
            "/v1", "points elsewhere (301), to https://elsewhere/v1/models. Set RAG_SLM_URL", id="a redirect",
        ),
        pytest.param(
            {LISTS: [status(401, {})], CHAT: [status(401, {})]}, "/v1", "refused the key (401). Set RAG_SLM_API_KEY.",
            id="a wrong key",
        ),
    ],
)  # fmt: skip
async def test_a_wrong_address_is_told_sized_with_the_right_one(routes: Routes, path: str, message: str) -> None:
    """What people write into a setting, and what stands behind it."""
    async with routed(routes) as host, remote(f"http://{host}{path}", retry_backoff_s=None) as backend:
        found = await found_of(backend)
    assert found.state == ("fault" if message else "ok"), found.text
    assert message.format(host=host) in found.text
    assert "secret" not in found.text


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A certificate that nobody trusts, and its file."""
    folder = tmp_path_factory.mktemp("tls")
    try:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=IP:127.0.0.1",
             "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        pytest.skip("no openssl to make a certificate with")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context, folder / "cert.pem"


async def test_a_certificate_that_is_not_trusted_is_told_and_so_are_http_and_https_mistaken(
    certificate: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused is refused: none of it is 'no model server there'. The remedy that is named helps."""
    routes = {LISTS: [BOTH], CHAT: ANSWER}
    async with routed(routes, certificate[0]) as secure, routed(routes) as plain:
        async with remote(f"https://{secure}") as backend:
            bad = await found_of(backend)
            with pytest.raises(ModelUnavailable, match=r"certificate that is not trusted .* Set SSL_CERT_FILE"):
                await backend.start()
        with monkeypatch.context() as patch:
            patch.setenv("SSL_CERT_FILE", str(certificate[1]))
            async with remote(f"https://{secure}") as backend:
                good = await found_of(backend)
        async with remote(f"https://{plain}") as backend:
            not_secure = await found_of(backend)
        not_plain = await fault_of(f"http://{secure}/v1", role="LLM")
    assert (bad.state, good.state) == ("fault", "ok")
    assert f"https://{secure}/v1 shows a certificate that is not trusted (self-signed certificate)." in bad.text
    assert "SSL_CERT_FILE" in bad.text
    assert not_secure.text == f"https://{plain}/v1 does not speak https. Set RAG_SLM_URL to http://{plain}/v1."
    assert not_plain == f"http://{secure}/v1 does not speak http. Set RAG_LLM_URL to https://{secure}/v1."


async def test_nobody_there_and_somebody_silent_are_two_faults() -> None:
    """The first is refused at once, the second takes the connection and says nothing."""
    async with remote("http://127.0.0.1:9") as backend:
        nobody = await found_of(backend)
    assert nobody.text == "No model server at http://127.0.0.1:9/v1. Start it, or set RAG_SLM_URL."
    async with routed({LISTS: [30.0]}) as host:
        assert "takes the connection and says nothing for 3 s" in (
            await fault_of(f"http://{host}/v1", role="SLM") or ""
        )


async def test_no_key_goes_to_an_address_that_is_only_looked_at() -> None:
    """The key belongs to the configured address, not to what is tried beside it."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(status(404, {}))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
        await fault_of(url, role="SLM")
        await loaded_models(url)
    assert len(heads) > 4
    assert b"authorization" not in b"".join(heads).lower()


async def test_a_model_that_fails_or_says_nothing_is_a_fault() -> None:
    """Whatever kind of backend it is."""
    broken = ScriptedBackend(Script("x", error=ModelBroke("The model broke. Look at its log.")))
    assert (await found_of(broken)).text == "The model broke. Look at its log."
    mute = await found_of(ScriptedBackend(Script("")))
    assert (mute.state, mute.text) == ("fault", "scripted stand-in on a script sent no text to a greeting.")


async def test_the_whole_check_names_each_thing_once(make_assistant: Make) -> None:
    """Versions, documents, index, memory, calibration and both models, in this order."""
    assistant = make_assistant(ScriptedBackend("Hello there."), ScriptedBackend("Hello there."))
    await assistant.start()
    found = await look_at(assistant, limit_s=8)
    await assistant.stop()
    names = ["versions", "documents", "index", "memory", "calibration", "SLM", "LLM"]
    assert [one.name for one in found] == names
    assert {one.state for one in found} == {"ok"}
    assert all(set(one.to_json()) == {"name", "state", "text", "details"} for one in found)


async def test_a_chat_that_is_still_starting_says_so(docs: Path) -> None:
    """Nothing is a fault yet."""
    found = {one.name: one for one in await look_at(build_assistant(Settings(docs_dir=docs)))}
    assert found["SLM"].text == "still starting. Check again in a moment."
    assert found["documents"].state == "missing"
    assert "fault" not in {one.state for one in found.values()}


def test_the_index_is_told_with_its_place_its_size_and_its_age(docs: Path, tmp_path: Path) -> None:
    """Also where it is kept nowhere, elsewhere, or cannot be kept."""
    settings = Settings(docs_dir=docs, index_dir=tmp_path / "kept")
    home = home_of(docs, tmp_path / "kept")
    assert index_of(settings).text == f"not yet kept in {home}"
    home.mkdir(parents=True)
    (home / "base-1.bin").write_bytes(b"x" * 2_000_000)
    two_hours_ago = (home / "base-1.bin").stat().st_mtime - 7_300
    os.utime(home / "base-1.bin", (two_hours_ago, two_hours_ago))
    assert index_of(settings).text == f"kept in {home}: 2 MB, last used or written 2 hours ago"
    assert index_of(Settings(docs_dir=docs, index_dir=None)).text.startswith("in memory only: each start reads")
    assert "given inline" in index_of(Settings(documents=["A text."])).text
    away = Settings(index="qdrant", qdrant_url="http://key:secret@host:6333", docs_dir=docs, index_dir=None)
    assert index_of(away).text == "in the collection grounded on http://host:6333"
    file = tmp_path / "file"
    file.touch()
    if os.geteuid():  # root may write anywhere
        file.chmod(0o400)
        assert index_of(Settings(docs_dir=docs, index_dir=file)).state == "fault"


def test_a_large_model_file_that_does_not_fit_into_memory_is_a_fault(tmp_path: Path) -> None:
    """Before it is loaded, and takes the machine down."""
    file = tmp_path / "gpt-oss-20b.gguf"
    with file.open("wb") as sparse:
        sparse.truncate(12_000_000_000)
    few = Memory(16_000_000_000, 3_000_000_000)
    found = memory_for(few, file, held=200_000_000)
    assert found.state == "fault"
    assert found.text == (
        "16.0 GB in this machine, 3.0 GB available, 200 MB in this process. gpt-oss-20b.gguf needs about 13.2 GB: "
        "end other programs, or set RAG_LLM_GGUF to a smaller file."
    )
    assert memory_for(few, None).state == "ok"
    assert memory_for(Memory(32_000_000_000, 20_000_000_000), file).state == "ok"
    assert memory_for(Memory(None, None), file).text == "this system does not tell"


def test_a_trace_that_cannot_be_written_is_a_fault_before_the_first_answer(docs: Path, tmp_path: Path) -> None:
    """And where there is none, nothing is said."""
    assert trace_of(Settings(docs_dir=docs)) == []
    assert trace_of(Settings(docs_dir=docs, trace=tmp_path / "trace.jsonl"))[0].state == "ok"
    (fault,) = trace_of(Settings(docs_dir=docs, trace=tmp_path / "no" / "trace.jsonl"))
    assert fault.state == "fault"
    assert f"make the folder {tmp_path / 'no'}" in fault.text


def test_this_machine_tells_what_it_has(tmp_path: Path) -> None:
    """Plausible figures, or None."""
    now = memory()
    held = resident()
    for value in (now.total, now.available, held):
        assert value is None or 1_000_000 < value < 10**14
    if now.total and now.available and held:
        assert now.available <= now.total
        assert held < now.total
    assert resident(2**22 + 1) is None
    assert size_of(tmp_path / "none") is None
    assert size_of(tmp_path) is None
    assert sized(1_500_000_000) == "1.5 GB"
