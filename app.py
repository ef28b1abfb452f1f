"""The chat page: thin handlers that draw the assistant's events. Start it with `chainlit run app.py`."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import sys
import time
from dataclasses import asdict, replace
from typing import Any, NoReturn

import chainlit as cl
import chainlit.server as server
from chainlit.config import config

from rag.assistant import Assistant, Knobs, build_assistant
from rag.check import look_at
from rag.errors import SettingsError
from rag.prompts import Turn
from rag.settings import load_settings
from rag.timings import Stopwatch
from ui.checking import LIMIT_S, asks_to_check, checked
from ui.choices import commands, mode_of_profile, panel, profiles, read_panel
from ui.comparing import COMMAND as COMPARE
from ui.comparing import AnswerColumns, prompt_of
from ui.feedback import Feedback
from ui.hardening import harden
from ui.live import Live
from ui.mending import forget_files, mend_chainlit
from ui.reply import Reply, in_words
from ui.report import asked_for, report, unread
from ui.session import Desk, close, desk, do_meanwhile, end_tasks, own_task
from ui.uploading import Intake

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
    mend_chainlit(forget=assistant.library.forget)
    forget_files()
live = Live(assistant.library)
intake = Intake(assistant.library)
feedback = Feedback(assistant.library, assistant.settings.feedback, turns=assistant.settings.history_turns)


@cl.on_app_startup
async def start() -> None:
    """Begin to load documents and model; the page opens meanwhile."""
    do_meanwhile(_follow())
    do_meanwhile(live.tell())


async def _follow() -> None:
    await assistant.start()
    assistant.library.start()


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
    await _show_panel()
    await cl.context.emitter.set_commands(commands())
    do_meanwhile(_tell_faults())


async def _show_panel() -> None:
    cl.user_session.set("default_knobs", assistant.knobs)
    await panel(_knobs() or assistant.knobs, cl.user_session.get("mode")).send()


def _knobs() -> Knobs | None:
    # None where the reader has turned none. The others are the assistant's, which finds its threshold while it starts.
    turned = cl.user_session.get("turned_knobs")
    return replace(assistant.knobs, **turned) if turned else None


async def _tell_faults() -> None:
    early = not assistant.started
    if early:
        reading = assistant.library.progress or "Still starting"
        await cl.context.emitter.send_toast(f"{reading}. A question waits until it is done.")
    await assistant.start()
    await assistant.look_again()
    if assistant.knobs != cl.user_session.get("default_knobs"):
        await _show_panel()
    if early and not assistant.faults:
        await cl.context.emitter.send_toast(f"Ready: {assistant.library.shelf.summary}.", type="success")
    for notice in [*assistant.faults, *unread(assistant.library.shelf)]:
        await cl.context.emitter.send_toast(notice, type="warning")


@cl.on_settings_update
async def change_settings(values: dict[str, Any]) -> None:
    """Take what the panel says for the questions to come."""
    default = cl.user_session.get("default_knobs") or assistant.knobs
    knobs, mode = read_panel(values, default)
    untouched, _ = read_panel({}, default)
    turned = dict(asdict(knobs).items() - asdict(untouched).items())
    cl.user_session.set("turned_knobs", turned)
    cl.user_session.set("mode", mode or cl.user_session.get("mode"))


@cl.on_message
async def answer(message: cl.Message) -> None:
    """Take in the files of a message, and answer its question, also an edited one."""
    mine = own_task()
    find = asked_for(message.content, message.command)
    prompt = asked_for(message.content, message.command, name=COMPARE, most=assistant.settings.max_question_chars + 1)
    looks = asks_to_check(message.content, message.command)
    asked = message.content.strip() or not message.elements
    async with in_words():
        if message.elements:
            await intake.take(message, mine)
        if find is not None:
            await _report(find, message.id, mine)
        elif prompt is not None:
            await _compare(prompt, message.id, mine)
        elif looks:
            await _check(message.id, mine)
    if asked and find is None and prompt is None and not looks:
        await _answer(message.content, message.id, mine)


@cl.action_callback("ask_again")
async def answer_again(action: cl.Action) -> None:
    """Answer the same question once more."""
    question = str(action.payload.get("question", ""))
    message = await cl.Message(question, type="user_message", author="User").send()
    mine = own_task()
    await cl.context.emitter.task_start()
    try:
        await _answer(question, message.id, mine)
    finally:
        await cl.context.emitter.task_end()


@cl.action_callback("mark_wrong")
async def mark_wrong(action: cl.Action) -> dict[str, str]:
    """Note what a reader says of an answer."""
    return await feedback.take(action.payload, desk().said)


@cl.action_callback("unmark")
async def unmark(action: cl.Action) -> dict[str, str]:
    """Take the note back."""
    return await feedback.take_back(action.payload, desk().said)


@cl.on_chat_end
async def close_chat() -> None:
    """The page is gone: stop its answer after some grace."""
    await close(assistant.settings.grace_s)


async def _answer(question: str, message_id: str, mine: Desk) -> None:
    watch = Stopwatch()
    if not assistant.started and _knobs():
        await assistant.start()  # else those that nobody has turned would be the ones of before
        watch.lap("load")
    large = assistant.models.llm if assistant.models else None
    uploads = tuple(mine.uploads)
    history = mine.conversation.before(message_id)
    reply = Reply(
        watch,
        large_label=large.label if large else "the large model",
        own=[one.name for one in uploads],
        offer=feedback.offering(mine.said, question, history),
    )
    mine.replies.append(reply)
    changes = live.changes
    events = assistant.ask(
        question,
        watch=watch,
        history=history,
        uploads=uploads,
        mode=cl.user_session.get("mode"),
        knobs=_knobs(),
        chat=mine.escalations,
    )
    answered = await reply.draw(events, question=question)
    if answered and answered.status == "complete" and answered.remembered:
        mine.conversation.add(message_id, Turn(question, answered.remembered))
    if live.changes != changes:
        await live.look_at(reply)


async def _report(find: str, message_id: str, mine: Desk) -> None:
    mine.conversation.before(message_id)  # if it was a question before it was edited
    shelf = await asyncio.to_thread(assistant.library.with_uploads, mine.uploads)
    made = await asyncio.to_thread(report, shelf, find=find, own={one.name for one in mine.uploads})
    mine.notes.append(cl.Message(made.text, elements=[cl.CustomElement(name="DocsReport", props=made.props)]))
    await mine.notes[-1].send()


async def _compare(asked: str, message_id: str, mine: Desk) -> None:
    mine.conversation.before(message_id)  # if it was a question before it was edited
    columns = AnswerColumns(prompt_of(asked, assistant.settings))
    mine.notes.append(columns.message)
    await columns.draw(assistant, knobs=_knobs() or assistant.knobs, uploads=tuple(mine.uploads))


async def _check(message_id: str, mine: Desk) -> None:
    mine.conversation.before(message_id)
    began = time.perf_counter()
    made = checked(await look_at(assistant, limit_s=LIMIT_S), seconds=time.perf_counter() - began)
    mine.notes.append(cl.Message(made.text, elements=[cl.CustomElement(name="CheckReport", props=made.props)]))
    await mine.notes[-1].send()
