"""The chat page: thin handlers that draw the assistant's events. Start it with `chainlit run app.py`."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import sys
from typing import Any, NoReturn

import chainlit as cl
import chainlit.server as server
from chainlit.config import config

from rag.assistant import Assistant, build_assistant
from rag.errors import SettingsError
from rag.prompts import Turn
from rag.settings import load_settings
from rag.timings import Stopwatch
from ui.choices import mode_of_profile, panel, profiles, read_panel
from ui.hardening import harden
from ui.mending import mend_chainlit
from ui.reply import Reply
from ui.session import close_later, desk, do_meanwhile, end_tasks, own_task

# A line for each request to the model would bury what matters.
logging.getLogger("httpx2").setLevel(logging.WARNING)
logging.getLogger("chainlit").addFilter(lambda record: "Translated markdown file" not in record.getMessage())


def _exit(sentence: str) -> NoReturn:
    sys.stderr.write(f"{sentence}\n")
    sys.exit(1)


def _build_or_exit() -> Assistant:
    try:
        return build_assistant(load_settings())
    except SettingsError as error:
        _exit(f"The chat cannot start, because of its settings:\n{error}\nAll settings are in docs/settings.md.")


def _exit_if_taken(host: str, port: int) -> None:
    # The server binds its port only after start-up, and Chainlit then ends without a word.
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        if sys.platform != "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            remedy = f"Try: chainlit run app.py --port {port + 1}" if taken else "Set CHAINLIT_HOST and CHAINLIT_PORT."
            _exit(f"Port {port} on {host} cannot be used ({getattr(error, 'strerror', error)}). {remedy}")


assistant = _build_or_exit()
if server.app.middleware_stack is None:  # not again when `chainlit run --watch` loads this file again
    _exit_if_taken(config.run.host, config.run.port)
    harden()
    mend_chainlit()
_starting: list[asyncio.Task[None]] = []


@cl.on_app_startup
async def start() -> None:
    """Begin to load documents and model; the page opens meanwhile."""
    _starting.append(asyncio.create_task(assistant.start()))


@cl.on_app_shutdown
async def shut_down() -> None:
    """End every task of ours and the model."""
    await end_tasks()
    await assistant.stop()


@cl.set_chat_profiles
async def chat_profiles(_user: cl.User | None, _language: str | None = None) -> list[cl.ChatProfile]:
    """The modes, saying which models they mean."""
    return profiles(assistant)


@cl.on_chat_start
async def open_chat() -> None:
    """Show the settings panel, and what is wrong, if anything is."""
    mode = mode_of_profile(cl.user_session.get("chat_profile")) or assistant.settings.mode
    cl.user_session.set("mode", mode)
    cl.user_session.set("knobs", assistant.knobs)
    await panel(assistant.knobs, mode).send()
    do_meanwhile(_tell_faults())


async def _tell_faults() -> None:
    await assistant.start()
    await assistant.look_again()
    for notice in [*assistant.faults, *_left_out()]:
        await cl.context.emitter.send_toast(notice, type="warning")


def _left_out() -> list[str]:
    files = assistant.library.shelf.skipped
    if not files:
        return []
    names = "; ".join(f"{file.name!r}: {file.reason}" for file in files[:3])
    more = f"; and {len(files) - 3} more" if len(files) > 3 else ""
    return [f"Left out of the documents: {names}{more}. `python -m rag check` lists all."]


@cl.on_settings_update
async def change_settings(values: dict[str, Any]) -> None:
    """Take what the panel says for the questions to come."""
    knobs, mode = read_panel(values, assistant.knobs)
    cl.user_session.set("knobs", knobs)
    cl.user_session.set("mode", mode or cl.user_session.get("mode"))


@cl.on_message
async def answer(message: cl.Message) -> None:
    """Answer a question, also an edited one."""
    own_task()
    await _answer(message.content, message.id)


@cl.action_callback("ask_again")
async def answer_again(action: cl.Action) -> None:
    """Answer the same question once more."""
    question = str(action.payload.get("question", ""))
    message = await cl.Message(question, type="user_message", author="User").send()
    own_task()
    await cl.context.emitter.task_start()
    try:
        await _answer(question, message.id)
    finally:
        await cl.context.emitter.task_end()


@cl.on_chat_end
async def close_chat() -> None:
    """The page is gone: stop its answer after some grace."""
    close_later(assistant.settings.grace_s)


async def _answer(question: str, message_id: str) -> None:
    mine = desk()
    large = assistant.models.llm if assistant.models else None
    watch = Stopwatch()
    mine.reply = Reply(watch, large_label=large.label if large else "the large model")
    events = assistant.ask(
        question,
        watch=watch,
        history=mine.conversation.before(message_id),
        mode=cl.user_session.get("mode"),
        knobs=cl.user_session.get("knobs"),
    )
    answered = await mine.reply.draw(events, question=question)
    if answered and answered.status == "complete" and answered.plain:
        mine.conversation.add(message_id, Turn(question, answered.plain))
