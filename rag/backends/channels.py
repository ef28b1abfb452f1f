"""
Parts what a model writes into its answer and its reasoning, while it streams.

A server may let through how its model thinks. What is told apart here, and by which rule:

- Harmony's marks (gpt-oss). `<|channel|>final<|message|>` opens the answer; `analysis`, `commentary`, a message to a
  tool (`to=functions.x`) or one of another role is reasoning. `<|start|>assistant`, and the marks at the end, may be
  missing. Text behind `<|end|>` without a header is the answer, as llama.cpp sends it with `--reasoning-format none`.
- Harmony without its marks, where a server drops special tokens: `analysisWe need … .assistantfinalParis.` A text that
  begins with `analysis` or `commentary`, in lower case and with the next word glued to it, is suspected. Of a gpt-oss
  model that is enough. Of any other model nothing is given out before `assistantfinal` confirms it; without that, all
  of it is the answer. 'Analysis of the data' or 'analysis of it' is never suspected.
- `<think>…</think>` and `<thinking>…</thinking>`, but only where an answer begins.

Harmony's marks in the middle of an ordinary answer count where they are a whole header outside code, or an end mark
that a header or the end of the text follows. Otherwise they are what the answer is about, and stay in it.

Source: the format that openai/harmony describes in docs/format.md.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from rag.backends.base import Reasoning, Text

Kind = Literal["answer", "reasoning", "mark"]

_START, _CHANNEL, _MESSAGE = "<|start|>", "<|channel|>", "<|message|>"
_ENDS = ("<|end|>", "<|return|>", "<|call|>")
_CHANNELS = ("analysis", "commentary", "final")
_MARKS = (_START, _CHANNEL, _MESSAGE, "<|constrain|>", *_ENDS)
_ROLE_AND_CHANNEL = f"assistant{_CHANNEL}"  # where a server drops `<|start|>` alone
_MARK = re.compile(r"<\|(?:start|channel|message|constrain|end|return|call)\|>")
_BOUNDARY = re.compile(rf"{re.escape(_ROLE_AND_CHANNEL)}|{_MARK.pattern}")
_END_MARKS = re.compile(r"(?:<\|(?:end|return|call)\|>\s*)+")
_HALF_A_MARK = re.compile(r"<\|\w*\|?\Z")
# What may stand before `<|message|>`: `<|channel|>final` at least, or `<|start|>assistant`. A channel of another name,
# which gpt-oss makes up now and then, has no words behind it as prose would have.
_HEADER = re.compile(
    r"(?:assistant)?(?:<\|start\|>\s*[\w.]+)?\s*(?:to=[^\s<]+)?\s*"
    r"(?:<\|channel\|>(?:\s*(?:analysis|commentary|final)\b[^<\n]*|[^\s<]+(?:\s+to=[^\s<]+)?\s*))?"
    r"(?:<\|constrain\|>[^<\n]*)?"
)
# The same, cut off anywhere.
_CUT_HEADER = re.compile(
    r"(?:assistant)?(?:<\|start\|>\s*(?P<role>\w*))?\s*(?:to=[^\s<]*)?\s*"
    r"(?:<\|channel\|>\s*(?P<channel>\w*)(?:\s+to=[^\s<]*)?\s*)?(?:<\|constrain\|>\s*\w*)?(?:<\|?\w*\|?)?"
)
# As much of a header as there is where `<|message|>` is missing.
_TORN_HEADER = re.compile(
    r"(?:assistant)?(?:<\|start\|>\s*(?:assistant|user|system|developer|tool)?)?\s*(?:<\|channel\|>\s*(?:analysis|commentary|final)?)?"
)
_HEADER_BEGINS = re.compile(r"(?:assistant)?<\|(?:start|channel)\|>|(?:assistant )?to=[^\s=]")
_RECIPIENT = re.compile(r"\bto=([^\s<]+)")
_MOST_HEADER = 200  # characters

_GLUED = re.compile(r"assistant(analysis|commentary|final)")
_GLUED_WORDS = ("assistantanalysis", "assistantcommentary", "assistantfinal")
_PROOF = re.compile(rf"{_GLUED.pattern}|<\|(?:start|channel)\|>")
_SUSPECTS = ("analysis", "commentary")
_MOST_SUSPECT = 20_000  # characters, after which a suspect is an answer
_QUOTES = '"“„«「『'
_OPENERS = ("<thinking>", "<think>")
_CLOSER = re.compile(r"</think(?:ing)?>")
_CLOSERS = ("</think>", "</thinking>")
# What may become something else than an answer when more of it is there.
_BEGINNINGS = (*_OPENERS, *_SUSPECTS, *_GLUED_WORDS, _START, _CHANNEL, f"assistant{_START}", _ROLE_AND_CHANNEL)
_RECIPIENT_BEGINNINGS = ("to=", "assistant to=")


@dataclass(frozen=True)
class Stretch:
    """A stretch of what a model wrote; `mark` is what is neither its answer nor its reasoning."""

    kind: Kind
    text: str


class Channels:
    """
    Tells a model's answer from its reasoning, piece by piece.

    No character is lost: all stretches together are the text that was fed. Where the text is cut into pieces makes no
    difference. What is still undecided is held back, and given out by `end` at the latest.

    Args:
        gpt_oss: whether the model is a gpt-oss, whose `analysisWe …` needs no further proof.

    >>> channels = Channels()
    >>> [*channels.feed("<think>Easy.</thi"), *channels.feed("nk>Four."), *channels.end()]
    ... # doctest: +NORMALIZE_WHITESPACE
    [Stretch(kind='mark', text='<think>'), Stretch(kind='reasoning', text='Easy.'),
     Stretch(kind='mark', text='</think>'), Stretch(kind='answer', text='Four.')]
    """

    def __init__(self, *, gpt_oss: bool = False) -> None:
        self._gpt_oss = gpt_oss
        self._rest = ""
        self._given: list[Stretch] = []
        self._step: Callable[[bool], bool] = self._begin
        self._marked = False  # whether harmony's marks were seen to be meant
        self._kind: Kind = "answer"
        self._in_code = False
        self._looked = 0  # how far a suspect was searched

    def feed(self, text: str) -> list[Stretch]:
        """What is decided now that this is there too."""
        self._rest += text
        return self._decided(ended=False)

    def passes(self, text: str) -> bool:
        """Whether a text that comes now is all answer, as it is in most pieces; then it need not be fed."""
        if self._rest or "<" in text or self._step != self._answer:
            return False
        self._in_code ^= text.count("`") % 2 == 1
        return True

    def end(self) -> list[Stretch]:
        """What was held back: no more text comes."""
        return self._decided(ended=True)

    def _decided(self, *, ended: bool) -> list[Stretch]:
        # Each step either takes something, or goes on to the next state, or has to wait for more.
        while self._rest and self._step(ended):
            pass
        given, self._given = self._given, []
        return given

    def _take(self, count: int, kind: Kind) -> None:
        text, self._rest = self._rest[:count], self._rest[count:]
        if not text:
            return
        if kind == "answer" and text.count("`") % 2:
            self._in_code = not self._in_code
        if self._given and self._given[-1].kind == kind:
            text = self._given.pop().text + text
        self._given.append(Stretch(kind, text))

    def _take_but(self, kept: tuple[str, ...], kind: Kind, *, ended: bool) -> bool:
        """Take all but an end that may be the beginning of one of these."""
        self._take(len(self._rest) - (0 if ended else _overlap(self._rest, kept)), kind)
        return False

    def _go(self, step: Callable[[bool], bool]) -> bool:
        self._step = step
        return True

    # Each of these is a state. It looks at the rest, and says whether to go on; False: wait for more text.

    def _begin(self, ended: bool) -> bool:
        """Where an answer, or a message of harmony, may begin."""
        body = self._rest.lstrip()
        blank = len(self._rest) - len(body)
        if not body and not ended:
            return False
        opener = next((one for one in _OPENERS if body.startswith(one)), None)
        if opener:
            self._take(blank + len(opener), "mark")
            return self._go(self._think)
        glued = _GLUED.match(body)
        if glued:
            return self._enter_glued(blank + len(glued[0]), glued[1])
        suspect = next((one for one in _SUSPECTS if _is_glued(body, one)), None)
        if suspect and self._gpt_oss:
            return self._enter_glued(blank + len(suspect), suspect)
        if suspect and not self._marked:
            return self._go(self._suspect)
        if _HEADER_BEGINS.match(body):
            return self._enter_header(blank, ended)
        if self._marked and body.startswith(_ENDS):
            self._take(blank + len(next(one for one in _ENDS if body.startswith(one))), "mark")
            return True
        if not ended and self._may_become_more(body):
            return False
        if ended and body and _HALF_A_MARK.fullmatch(body):
            self._take(len(self._rest), "mark")
            return True
        self._kind = "answer"
        return self._go(self._message if self._marked else self._answer)

    def _may_become_more(self, body: str) -> bool:
        options = (*_BEGINNINGS, *_RECIPIENT_BEGINNINGS, *(_ENDS if self._marked else ()))
        return any(one.startswith(body) for one in options) or any(
            body.startswith(one) and " to=".startswith(body[len(one) :]) for one in _SUSPECTS
        )

    def _enter_glued(self, length: int, channel: str) -> bool:
        self._take(length, "mark")
        return self._go(self._answer if channel == "final" else self._glued)

    def _think(self, ended: bool) -> bool:
        closer = _CLOSER.search(self._rest)
        if not closer:
            return self._take_but(_CLOSERS, "reasoning", ended=ended)
        self._take(closer.start(), "reasoning")
        self._take(len(closer[0]), "mark")
        return self._go(self._begin)

    def _suspect(self, ended: bool) -> bool:
        """Harmony without its marks by a model of another name: nothing is given out before it is confirmed."""
        if _PROOF.search(self._rest, self._looked, _MOST_SUSPECT):
            body = self._rest.lstrip()
            suspect = next(one for one in _SUSPECTS if body.startswith(one))
            return self._enter_glued(len(self._rest) - len(body) + len(suspect), suspect)
        self._looked = max(0, len(self._rest) - len(max(_GLUED_WORDS, key=len)))
        return self._go(self._answer) if ended or len(self._rest) >= _MOST_SUSPECT else False

    def _glued(self, ended: bool) -> bool:
        """The reasoning of harmony without its marks, or with only some of them."""
        glued, mark = _GLUED.search(self._rest), _BOUNDARY.search(self._rest)
        if mark and not (glued and glued.start() < mark.start()):
            self._take(mark.start(), "reasoning")
            self._marked, self._kind = True, "reasoning"
            return self._go(self._message)
        if not glued:
            return self._take_but((*_GLUED_WORDS, *_MARKS, _ROLE_AND_CHANNEL), "reasoning", ended=ended)
        self._take(glued.start(), "reasoning")
        return self._enter_glued(len(glued[0]), glued[1])

    def _message(self, ended: bool) -> bool:
        """The text of a message of harmony; every mark counts."""
        mark = _BOUNDARY.search(self._rest)
        if mark:
            self._take(mark.start(), self._kind)
            if mark[0] in (_START, _CHANNEL, _ROLE_AND_CHANNEL):
                return self._go(self._begin)
            self._take(len(mark[0]), "mark")
            return self._go(self._begin) if mark[0] in _ENDS else True
        half = _HALF_A_MARK.search(self._rest) if ended else None
        if half:
            self._take(half.start(), self._kind)
            self._take(len(self._rest), "mark")
            return False
        return self._take_but((*_MARKS, _ROLE_AND_CHANNEL), self._kind, ended=ended)

    def _answer(self, ended: bool) -> bool:
        """An ordinary answer; marks count only where they can be nothing else."""
        mark = _MARK.search(self._rest)
        if not mark:
            return self._take_but(_MARKS, "answer", ended=ended)
        if mark.start():
            self._take(mark.start(), "answer")
            return True
        if mark[0] in _ENDS:
            return self._answer_may_end(ended)
        if mark[0] in (_START, _CHANNEL) and not self._in_code:
            return self._enter_header(0, ended)
        self._take(len(mark[0]), "answer")
        return True

    def _answer_may_end(self, ended: bool) -> bool:
        ends = _END_MARKS.match(self._rest)
        after = self._rest[ends.end() :] if ends else ""
        headers = (_START, _CHANNEL, _ROLE_AND_CHANNEL)
        if ended and (not after or _HALF_A_MARK.fullmatch(after)):
            self._take(len(self._rest), "mark")
        elif not self._in_code and after.startswith(headers):
            self._take(len(self._rest) - len(after), "mark")
            self._marked = True
            return self._go(self._begin)
        elif not ended and (not after or any(one.startswith(after) for one in (*_ENDS, *headers))):
            return False
        else:
            self._take(len(self._rest) - len(after), "answer")
        return True

    def _enter_header(self, blank: int, ended: bool) -> bool:
        """The rest begins like a header: take it, wait for the rest of it, or see that it is none."""
        body = self._rest[blank:]
        window = body[:_MOST_HEADER]
        stop = next((one for one in _MARK.finditer(window) if one.start() and _ends_header(window, one)), None)
        broken = not self._marked and "\n" in window[: stop.start() if stop else None]
        proper = self._marked or (stop and not broken and _HEADER.fullmatch(window, 0, stop.start()))
        if stop and stop[0] == _MESSAGE and proper:
            self._kind = _kind_of(window[: stop.start()])
            self._take(blank + stop.end(), "mark")
            self._marked = True
            return self._go(self._message)
        torn = stop or broken or len(body) >= _MOST_HEADER
        if not torn and not ended:
            return False
        if not torn and _is_cut_header(body):
            self._take(len(self._rest), "mark")
            return True
        if self._marked:
            found = _TORN_HEADER.match(window)
            self._kind = _kind_of(window[: stop.start() if stop else None])
            self._take(blank + (found.end() if found else 0), "mark")
            return self._go(self._message)
        mark = _MARK.match(body)
        self._take(blank + (mark.end() if mark else 1), "answer")
        return self._go(self._answer)


@dataclass
class _Waiting:
    """A piece as it came, and what is decided of it."""

    text: str
    logprobs: tuple[float, ...] | None
    tops: tuple[tuple[float, ...], ...] | None
    open: int = 0  # characters that are not decided yet
    parts: list[Stretch] = field(default_factory=list)


class Sorter:
    """
    Sorts a server's pieces into those of the answer and those of the reasoning.

    A piece that is wholly of the answer keeps its log-probabilities. One that is only partly of it loses them: which
    of its tokens are the answer's is not known. Between two messages of the same kind there is an empty line.

    Args:
        models: the names under which the model is known.

    >>> sorter = Sorter(["gpt-oss-20b"])
    >>> sorter.feed("analysis"), sorter.feed("Easy.assistantfinalFour.", (-0.1, -0.2)), sorter.end()
    ([], [Reasoning(text='Easy.'), Text(text='Four.', logprobs=None, tops=None)], [])
    """

    def __init__(self, models: Sequence[str] = ()) -> None:
        self._channels = Channels(gpt_oss=any("gptoss" in re.sub(r"[^a-z]", "", one.casefold()) for one in models))
        self._pieces: deque[_Waiting] = deque()
        self._said: set[Kind] = set()
        self._parted = False  # whether a mark came since the last text

    def feed(
        self,
        text: str,
        logprobs: tuple[float, ...] | None = None,
        tops: tuple[tuple[float, ...], ...] | None = None,
    ) -> list[Text | Reasoning]:
        """What can be given on now that this piece is there too; its text is not empty."""
        if not self._pieces and self._channels.passes(text):
            return [Text(self._apart("answer", text), logprobs, tops)]
        self._pieces.append(_Waiting(text, logprobs, tops, len(text)))
        return self._sorted(self._channels.feed(text))

    def end(self) -> list[Text | Reasoning]:
        """What was held back."""
        return self._sorted(self._channels.end())

    def _sorted(self, stretches: Iterable[Stretch]) -> list[Text | Reasoning]:
        given: list[Text | Reasoning] = []
        for stretch in stretches:
            left = stretch.text
            while left:
                piece = self._pieces[0]
                part = Stretch(stretch.kind, left[: piece.open])
                left = left[piece.open :]
                piece.open -= len(part.text)
                piece.parts.append(part)
                # Without log-probabilities nothing is lost by giving on a piece in parts.
                if piece.open == 0 or piece.logprobs is None:
                    given += self._given(piece)
                    piece.parts.clear()
                if piece.open == 0:
                    self._pieces.popleft()
        return given

    def _given(self, piece: _Waiting) -> list[Text | Reasoning]:
        whole = all(part.kind == "answer" for part in piece.parts)
        if whole and piece.logprobs is not None:
            return [Text(self._apart("answer", piece.text), piece.logprobs, piece.tops)]
        given: list[Text | Reasoning] = []
        for part in piece.parts:
            if part.kind == "mark":
                self._parted = True
            elif part.kind == "answer":
                given.append(Text(self._apart("answer", part.text)))
            else:
                given.append(Reasoning(self._apart("reasoning", part.text)))
        return given

    def _apart(self, kind: Kind, text: str) -> str:
        if not text.strip():
            return text
        between = "\n\n" if self._parted and kind in self._said else ""
        self._parted = False
        self._said.add(kind)
        return f"{between}{text}"


def _overlap(text: str, words: tuple[str, ...]) -> int:
    """How many characters at the end of a text are the beginning, and no more than that, of one of these words."""
    beginnings = _beginnings(words)
    if not text.endswith(beginnings):
        return 0
    return next(len(one) for one in beginnings if text.endswith(one))


@cache
def _beginnings(words: tuple[str, ...]) -> tuple[str, ...]:
    """All proper beginnings of some words, longest first."""
    return tuple(sorted({word[:size] for word in words for size in range(1, len(word))}, key=len, reverse=True))


def _is_glued(body: str, word: str) -> bool:
    """Whether a text begins with a channel's name that is no word of its own."""
    after = body[len(word) : len(word) + 4]
    return body.startswith(word) and (after[:1].isalnum() or after[:1] in tuple(_QUOTES) or after == " to=")


def _ends_header(window: str, mark: re.Match[str]) -> bool:
    """Whether a mark is one that no header has at this place."""
    return mark[0] not in (_CHANNEL, "<|constrain|>") and not (
        mark[0] == _START and window[: mark.start()].strip() in ("", "assistant")
    )


def _is_cut_header(text: str) -> bool:
    """Whether a text that goes no further might have become a header."""
    cut = _CUT_HEADER.fullmatch(text)
    if not cut or "<|" not in text:
        return False
    channel = cut["channel"] or ""
    return "assistant".startswith(cut["role"] or "") and any(one.startswith(channel) for one in _CHANNELS)


def _kind_of(header: str) -> Kind:
    before, _, channel = header.partition(_CHANNEL)
    role = before.replace(_START, " ").split()
    name = re.findall(r"[a-z]+", channel.casefold().split("<|")[0])
    recipient = _RECIPIENT.search(header)
    called = recipient is not None and recipient[1] not in ("user", "all")
    ours = not role or role[0] == "assistant" or role[0].startswith("to=")
    return "answer" if ours and not called and (not name or name[0] == "final") else "reasoning"
