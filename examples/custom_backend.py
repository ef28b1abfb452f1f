"""
A model behind a program: the prompt goes to its standard input, and what it prints is the answer.

RAG_SLM_BACKEND=examples.custom_backend:make and, for example, MODEL_COMMAND="ollama run llama3.2". The command is shown
as the model's name, so put no key into it.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
from codecs import getincrementaldecoder
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress

from rag.backends.base import Done, Opened, Piece, Text
from rag.errors import ModelBroke, ModelUnavailable
from rag.prompts import Message


class Program:
    """A program that is run once for each answer; a token is counted as four bytes, and it takes no temperature."""

    where, ready = "a program on this machine", True

    def __init__(self, command: Sequence[str]) -> None:
        self.label, self._command = " ".join(command), command

    async def start(self) -> None:
        """See whether the program is there."""
        if not self._command or not shutil.which(self._command[0]):
            raise ModelUnavailable(
                f"There is no program for MODEL_COMMAND={self.label!r}. Install it, or name another."
            )

    async def stop(self) -> None:
        """Nothing to free: each program ends with its answer."""

    async def stream(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float
    ) -> AsyncGenerator[Piece, None]:
        """Run the program; if the answer is closed before its end, the program is killed."""
        await self.start()
        pipe, decode, room = asyncio.subprocess.PIPE, getincrementaldecoder("utf-8")("replace").decode, 4 * max_tokens
        program = await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe, start_new_session=True)
        try:
            yield Opened()
            if program.stdin and program.stdout:
                program.stdin.write("\n\n".join(message["content"] for message in messages).encode())
                program.stdin.close()
                while room > 0 and (raw := await program.stdout.read(room)):
                    if text := decode(raw):
                        yield Text(text)
                    room -= len(raw)
            if room > 0 and await program.wait():
                raise ModelBroke(f"{self.label} ended with status {program.returncode}. See what it says above.")
            yield Done("stop" if room > 0 else "length", self.label)
        finally:
            if program.returncode is None:
                with suppress(ProcessLookupError):  # it has ended just now
                    os.killpg(program.pid, signal.SIGKILL) if hasattr(os, "killpg") else program.kill()
            await program.communicate()


def make() -> Program:
    """What RAG_SLM_BACKEND or RAG_LLM_BACKEND names."""
    return Program(shlex.split(os.environ.get("MODEL_COMMAND", "ollama run llama3.2")))
