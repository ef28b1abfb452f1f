"""Any server that speaks OpenAI's chat completions: Foundry Local, llama.cpp, vLLM, Ollama, LM Studio, a cloud."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai
from openai import AsyncOpenAI, AsyncStream
from openai.types.chat import ChatCompletionChunk

from rag.addresses import display_url, is_loopback
from rag.backends.base import Done, Opened, Piece, Reasoning, Usage
from rag.backends.channels import Sorter
from rag.errors import ModelBroke, ModelError, ModelRefused, ModelUnavailable
from rag.naming import closest
from rag.prompts import Message

log = logging.getLogger(__name__)

# No model sends this much in one piece or one answer; a server that does is broken or hostile.
_MAX_PIECE_CHARS = 64_000
_MAX_ANSWER_CHARS = 1_000_000
_MAX_REASONING_CHARS = 100_000
_LIST_MODELS_S = 3.0
# So many of the likeliest tokens are asked for in each place; vLLM refuses more unless it is told otherwise.
_TOPS = 5
# What is asked for instead where a server refuses that: fewer, then no log-probabilities.
_FEWER: dict[int, int | None] = {_TOPS: 1, 1: None}
# JSON has whole numbers that are too large for a float.
_LARGEST = sys.float_info.max


@dataclass(frozen=True)
class Deadlines:
    """
    How long a server may take, in seconds. They count text: keep-alives do not extend them.

    Attributes:
        connect_s: to accept the connection.
        first_text_s: from the request to the first text.
        between_texts_s: from one text to the next.
    """

    connect_s: float = 2.0
    first_text_s: float = 120.0
    between_texts_s: float = 15.0


class OpenAICompatible:
    """
    A model behind a URL.

    Args:
        url: the server's address; `/v1` is added where it is missing.
        model: the model's name; a server that knows it under a longer id, or knows only one model, is followed.
        api_key: sent as a bearer token; never logged.
        role: `SLM` or `LLM`, to name the right settings in messages.
        deadlines: how long to wait.
        retry_backoff_s: the pause before the one retry of an overloaded server; None: no retry.
        where: where it runs, if there is a better name for it than the URL.
        extra_body: more fields of every request.
        remedy: what to do when it breaks, if there is something better than to look at its log.
        transport: what carries the requests, in tests.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key: str = "none",
        role: str = "SLM",
        deadlines: Deadlines | None = None,
        retry_backoff_s: float | None = 0.5,
        where: str | None = None,
        remedy: str | None = None,
        extra_body: Mapping[str, Any] | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = normalise_url(url)
        self.label = model
        self.where = where or display_url(self.url)
        self._wanted = model
        self._api_key = api_key
        self._transport = transport
        self._role = role
        self._deadlines = deadlines or Deadlines()
        self._retry_backoff_s = retry_backoff_s
        self._remedy = remedy or f"Look at its log, or set RAG_{role}_URL to another server."
        self._extra_body = dict(extra_body or {})
        self._tops: int | None = _TOPS
        self._lists_nothing = False
        self._api_key = api_key or "none"
        self._transport = transport
        self._client = self._new_client()

    def _new_client(self) -> AsyncOpenAI:
        # A proxy has no business between us and our own machine, and a redirect would post the prompt elsewhere.
        # Kept connections are dropped by llama.cpp when it likes; on loopback a new one costs next to nothing.
        loopback = is_loopback(self.url)
        http = httpx2.AsyncClient(
            **trust(self.url),
            follow_redirects=False,
            limits=httpx2.Limits(max_keepalive_connections=0 if loopback else 20),
            timeout=httpx2.Timeout(None, connect=self._deadlines.connect_s),
            transport=self._transport,
        )
        return AsyncOpenAI(base_url=self.url, api_key=self._api_key, max_retries=0, http_client=http)

    @property
    def is_ours(self) -> bool:
        """Whether it runs on this machine, so that its tokens cost nothing."""
        return is_loopback(self.url)

    @property
    def ready(self) -> bool:
        """Always: loading is the server's affair."""
        return True

    async def start(self) -> None:
        """Learn under which name the server knows the model. Raises `ModelError` if nobody answers."""
        if self._client.is_closed():
            self._client = self._new_client()
        self.label = resolve_model(self._wanted, await self.list_models()) or self._wanted

    async def stop(self) -> None:
        """Close the connections."""
        await self._client.close()

    def with_model(self, model: str) -> OpenAICompatible:
        """The same server with another of its models: a client of its own, which whoever asks for it stops."""
        return OpenAICompatible(
            self.url, model, api_key=self._api_key, role=self._role, deadlines=self._deadlines,
            retry_backoff_s=self._retry_backoff_s, where=self.where, remedy=self._remedy, transport=self._transport,
            extra_body=self._extra_body,
        )  # fmt: skip

    async def list_models(self) -> list[str]:
        """The ids of the models that the server lists. Raises `ModelError`."""
        try:
            async with asyncio.timeout(_LIST_MODELS_S + self._deadlines.connect_s):
                page = await self._client.models.list()
            return [model.id for model in page.data or [] if isinstance(model.id, str)]
        except ModelError:
            raise
        except Exception as error:
            raise self._translated(error) from error

    async def stream(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float
    ) -> AsyncGenerator[Piece, None]:
        """Generate an answer, as the protocol says; the request is tried at most twice, never after a text."""
        deadline = asyncio.get_running_loop().time() + self._deadlines.first_text_s
        response = await self._open(messages, max_tokens, temperature, deadline)
        try:
            yield Opened()
            async with aclosing(self._pieces(response, deadline)) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            # Leaving the loop is not enough: the server would go on generating until the socket is collected.
            await response.close()
            # Nor does that end the generators inside it, which the garbage collector would meet in any thread.
            if isinstance(response._iterator, AsyncGenerator):
                await response._iterator.aclose()

    async def _open(
        self, messages: Sequence[Message], max_tokens: int, temperature: float, deadline: float
    ) -> AsyncStream[ChatCompletionChunk]:
        retries = 0 if self._retry_backoff_s is None else 1
        while True:
            tops = self._tops
            try:
                return await self._request(messages, max_tokens, temperature, deadline)
            except openai.APIStatusError as error:
                if error.status_code == 400 and tops and "logprob" in str(error.message).lower():
                    if self._tops == tops:  # or another request has learnt it meanwhile
                        self._tops = _FEWER[tops]
                    continue
                if error.status_code == 404 and await self._found_other_name():
                    continue
                if error.status_code == 404 and self._lists_nothing:
                    raise ModelRefused(
                        f"{self._name()} has no chat at this address (404). Check RAG_{self._role}_URL.", status=404
                    ) from error
                if retries and (error.status_code == 429 or error.status_code >= 500):
                    retries -= 1
                    await asyncio.sleep(self._pause(error))
                    continue
                raise self._translated(error) from error
            except openai.APIConnectionError as error:
                # The server closed a kept connection just as we took it: it never saw the request.
                if retries and isinstance(error.__cause__, httpx2.RemoteProtocolError):
                    retries -= 1
                    continue
                raise self._translated(error) from error
            except Exception as error:
                raise self._translated(error) from error

    async def _request(
        self, messages: Sequence[Message], max_tokens: int, temperature: float, deadline: float
    ) -> AsyncStream[ChatCompletionChunk]:
        request: dict[str, Any] = {
            "model": self.label,
            "messages": list(messages),
            "max_tokens": max_tokens,
            "temperature": temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self._tops:
            request |= {"logprobs": True, "top_logprobs": self._tops}
        if self._extra_body:
            request["extra_body"] = self._extra_body
        async with asyncio.timeout_at(deadline):
            stream: AsyncStream[ChatCompletionChunk] = await self._client.chat.completions.create(**request)
            return stream

    async def _pieces(self, response: AsyncStream[ChatCompletionChunk], deadline: float) -> AsyncGenerator[Piece, None]:
        finish, model, usage, size, thought = "", self.label, None, 0, 0
        sorter: Sorter | None = None
        chunks = aiter(response)
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    break
                model = chunk.model or model
                usage = _usage(chunk) or usage
                choice = chunk.choices[0] if chunk.choices else None
                text = _readable((choice.delta.content if choice else None) or "")
                reasoning = _reasoning(choice)
                logprobs, tops = _logprobs(choice) if text else (None, None)
                finish = (choice.finish_reason if choice else None) or finish
            except Exception as error:
                if finish:
                    break  # whole already; the usage that should follow did not come
                for piece in sorter.end() if sorter else []:
                    yield piece
                raise self._translated(error, begun=size > 0) from error
            if not text and not reasoning:
                continue
            size += len(text) + len(reasoning)
            if max(len(text), len(reasoning)) > _MAX_PIECE_CHARS or size > _MAX_ANSWER_CHARS:
                raise ModelBroke(f"{self._name()} sent far too much text at once; the answer was cut off.")
            deadline = loop.time() + self._deadlines.between_texts_s
            sorter = sorter or Sorter((self._wanted, self.label, model))
            thinks = [Reasoning(reasoning)] if reasoning else []
            for piece in [*thinks, *(sorter.feed(text, logprobs, tops) if text else [])]:
                thought += len(piece.text) if isinstance(piece, Reasoning) else 0
                if thought > _MAX_REASONING_CHARS:
                    raise ModelBroke(
                        f"{self._name()} reasoned for more than {_MAX_REASONING_CHARS:,} characters and was stopped."
                    )
                yield piece
        for piece in sorter.end() if sorter else []:
            yield piece
        if not finish:
            what = "stopped in mid-answer" if size else "sent no answer (is it a model server at all?)"
            raise ModelBroke(f"{self._name()} {what}. {self._remedy}")
        yield Done(finish, model, usage)

    async def _found_other_name(self) -> bool:
        try:
            listed = await self.list_models()
        except ModelError:
            listed = []
        self._lists_nothing = not listed
        found = resolve_model(self._wanted, listed)
        if found is None or found == self.label:
            return False
        self.label = found
        return True

    def _pause(self, error: openai.APIStatusError) -> float:
        asked = error.response.headers.get("retry-after", "")
        if asked.isdigit() and int(asked) <= 5:
            return float(asked)
        return (self._retry_backoff_s or 0.0) * random.uniform(0.5, 1.5)

    def _name(self) -> str:
        return f"The model on {self.where}" if self.where == "this machine" else f"The model server at {self.where}"

    def _translated(self, error: Exception, *, begun: bool = False) -> ModelError:
        if isinstance(error, openai.APIStatusError):
            return self._refused(error)
        if isinstance(error, openai.APITimeoutError | openai.APIConnectionError) and not begun:
            cause = error.__cause__
            if why := untrusted(error):
                return ModelUnavailable(f"{self._name()} {why}")
            if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout) or cause is None:
                return ModelUnavailable(f"No model server at {self.where}. Start it, or set RAG_{self._role}_URL.")
        if isinstance(error, TimeoutError):
            waited = self._deadlines.between_texts_s if begun else self._deadlines.first_text_s
            what = "went silent in mid-answer" if begun else "sent nothing"
            return ModelBroke(f"{self._name()} {what} for {waited:g} s. {self._remedy}")
        log.info("model server %s: %s: %s", self.where, type(error).__name__, str(error)[:200])
        what = "broke off in mid-answer" if begun else "did not send an answer that can be read"
        return ModelBroke(f"{self._name()} {what}. {self._remedy}")

    def _refused(self, error: openai.APIStatusError) -> ModelRefused:
        status = error.status_code
        if status in (401, 403):
            message = f"{self._name()} refused the key ({status}). Set RAG_{self._role}_API_KEY."
        elif status == 404:
            message = (
                f"{self._name()} does not know {self.label!r} (404). Set RAG_{self._role}_MODEL to one that it lists."
            )
        elif status == 429:
            message = f"{self._name()} has too much to do (429). Please ask again in a minute."
        elif 300 <= status < 400:
            message = f"{self._name()} points elsewhere ({status}). Set RAG_{self._role}_URL to where it really is."
        elif status >= 500:
            message = f"{self._name()} failed ({status}). {self._remedy}"
        elif "context" in str(error.message).lower():
            message = (
                f"The question, its evidence and the history are too long for {self.label} ({status}). Shorten the "
                "question, or lower RAG_EVIDENCE_TOKENS or RAG_HISTORY_TURNS."
            )
        else:
            message = f"{self._name()} refused the question ({status}): {_first_sentence(error)}"
        return ModelRefused(message, status=status)


def normalise_url(url: str) -> str:
    """
    The base URL that the client needs: one without a path gets `/v1`, one with a path is taken as it is.

    >>> normalise_url("http://localhost:5273/"), normalise_url("http://localhost:5273/v1")
    ('http://localhost:5273/v1', 'http://localhost:5273/v1')
    """
    trimmed = url.strip().rstrip("/")
    return trimmed if urlsplit(trimmed).path else f"{trimmed}/v1"


def trust(url: str) -> dict[str, Any]:
    """
    Whom an HTTP client trusts on the way to an address: for this machine no proxy, and the certificates of the system.

    `SSL_CERT_FILE` adds one's own in either case.
    """
    if not is_loopback(url):
        return {"trust_env": True}
    return {"trust_env": False, **({"verify": ssl.create_default_context()} if url.startswith("https:") else {})}


def untrusted(error: BaseException | None) -> str | None:
    """That a server's certificate is not trusted and what to do, in words, if that is behind an error."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    if error is None:
        return None
    remedy = "Set SSL_CERT_FILE to the file of its certificate, or of the authority that signed it."
    return f"shows a certificate that is not trusted ({error.verify_message}). {remedy}"


def resolve_model(wanted: str, listed: Sequence[str], *, only_one_will_do: bool = True) -> str | None:
    """
    The id under which a server knows a model.

    Args:
        wanted: a name or alias, such as `phi-4-mini`.
        listed: the ids that the server lists.
        only_one_will_do: take a server's only model, whatever its name.

    >>> resolve_model("phi-4-mini", ["Phi-4-mini-instruct-generic-cpu:5", "qwen2.5-0.5b"])
    'Phi-4-mini-instruct-generic-cpu:5'
    """
    return closest(wanted, listed) or (listed[0] if only_one_will_do and len(listed) == 1 else None)


def _readable(content: object) -> str:
    if not isinstance(content, str):
        raise TypeError(f"content must be a string, was: {type(content).__name__}")
    return content.encode("utf-8", "replace").decode()


def _reasoning(choice: Any) -> str:
    """What a model thinks, where its server has a field for it; some servers send the same in both fields."""
    delta = getattr(choice, "delta", None)
    found = [getattr(delta, name, None) for name in ("reasoning_content", "reasoning")]
    return _readable(next((one for one in found if one and isinstance(one, str)), ""))


def _usage(chunk: ChatCompletionChunk) -> Usage | None:
    if not chunk.usage:
        return None
    prompt, completion = chunk.usage.prompt_tokens, chunk.usage.completion_tokens
    counted = isinstance(prompt, int) and isinstance(completion, int) and prompt >= 0 and completion >= 0
    reasoning = getattr(chunk.usage.completion_tokens_details, "reasoning_tokens", None)
    plausible = isinstance(reasoning, int) and 0 <= reasoning <= completion if counted else False
    return Usage(prompt, completion, reasoning if plausible else None) if counted else None


def _logprobs(choice: Any) -> tuple[tuple[float, ...] | None, tuple[tuple[float, ...], ...] | None]:
    """Of the tokens, and of the likeliest ones in the place of each; whatever is wrong with them costs them alone."""
    tokens = _listed(getattr(choice, "logprobs", None), "content")
    known = [_numbers(_listed(token, "top_logprobs")) for token in tokens]
    ranked = tuple(tuple(sorted(top, reverse=True)) for top in known if top)
    return _numbers(tokens), ranked if ranked and all(known) else None


def _listed(holder: Any, name: str) -> list[Any]:
    found = getattr(holder, name, None)
    return found if isinstance(found, list) else []


def _numbers(tokens: Sequence[Any]) -> tuple[float, ...] | None:
    """The log-probabilities of some tokens; None if there are none, or one is no number that is finite."""
    values: list[Any] = [getattr(token, "logprob", None) for token in tokens]
    known = bool(values) and all(isinstance(value, int | float) and abs(value) <= _LARGEST for value in values)
    return tuple(float(value) for value in values) if known else None


def _first_sentence(error: openai.APIStatusError) -> str:
    body = error.body
    inner = body.get("message") if isinstance(body, dict) else None
    return " ".join(str(inner or error.message).split())[:200]
