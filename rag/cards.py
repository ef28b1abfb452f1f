"""What is known of models by their names: what they are good at, how big they are, what they cost."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from rag.errors import CardsError
from rag.naming import means

log = logging.getLogger(__name__)

#: What a question may want of a model.
Capability = Literal["code", "summarise", "classify", "general"]
_MOST_BYTES = 1_000_000
_MOST = 1e12
_NUMBERS = ("size_mb", "context", "price_in", "price_out")
_TEXTS = ("licence", "notes")
_ALL = (*_NUMBERS, *_TEXTS)
# A question that is none of these is a general one.
_WANTS: dict[Capability, re.Pattern[str]] = {
    "code": re.compile(
        r"(?i)```|\b(?:traceback|stack trace)\b|\b(?:write|give|show|generate|fix|debug|refactor|complete|implement)\b"
        r"[^.?!\n]{0,60}\b(?:code|function|script|class|program|query|regex|regular expression|snippet|unit tests?|"
        r"one-liner)\b"
    ),
    "summarise": re.compile(
        r"(?i)\b(?:summari[sz]e|summary|tl;?dr|sum up|give (?:me )?an overview|outline the|key points|in a nutshell|"
        r"zusammenfass\w*|fass\w* .{0,60}\bzusammen|résume[rz]?|resum(?:e|en|ir))\b"
    ),
    "classify": re.compile(
        r"(?i)\b(?:classify|categori[sz]e|which (?:category|class|label)|label (?:this|the|each)|is (?:this|it) "
        r"(?:spam|positive|negative)|sentiment|klassifizier\w*)\b"
    ),
}


@dataclass(frozen=True)
class Card:
    """
    What is known of a model. Whatever is not known is None or empty.

    Attributes:
        alias: the name that people use, such as `phi-4-mini`.
        capabilities: what it is good at; empty: not known.
        size_mb: of its file, in MB.
        licence: as its maker names it.
        context: the longest prompt and answer together, in tokens.
        price_in, price_out: what a million prompt and completion tokens cost, in US dollars.
        notes: a sentence for whoever reads the file.
    """

    alias: str
    capabilities: frozenset[Capability] = frozenset()
    size_mb: float | None = None
    licence: str = ""
    context: int | None = None
    price_in: float | None = None
    price_out: float | None = None
    notes: str = ""

    @property
    def line(self) -> str:
        """What is known, in one line; empty if nothing is."""
        known = [
            ", ".join(name for name in get_args(Capability) if name in self.capabilities),
            f"{self.size_mb:,.0f} MB" if self.size_mb else "",
            self.licence,
            f"{self.context:,} tokens of context" if self.context else "",
            f"{self.price_in:g} and {self.price_out:g} $ for a million tokens in and out"
            if self.price_in is not None and self.price_out is not None
            else "",
        ]
        return " · ".join(filter(None, known))

    def lacks(self, wanted: Capability) -> bool:
        """Whether it is known to be good at other things, and not at this."""
        return bool(self.capabilities) and wanted not in self.capabilities


@dataclass
class Cards:
    """
    The cards of a file, read again when it has changed.

    A file that is broken leaves the cards as they were, and `fault` says what is wrong with it.

    Args:
        path: of the file; None, or a file that is not there: no cards.
        wanted: whether it is a fault if the file is not there.
    """

    path: Path | None
    fault: str = ""
    wanted: bool = False
    _cards: Mapping[str, Card] = field(default_factory=dict, repr=False)
    _seen: tuple[int, int] | None = None

    def refresh(self) -> None:
        """Read the file if it is another one than it was. Reads a file: not for the event loop."""
        try:
            stat = self.path.stat() if self.path else None
        except OSError:
            stat = None
        seen = (stat.st_mtime_ns, stat.st_size) if stat else (0, 0)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._cards = read_cards(self.path) if self.path and stat else {}
            self.fault = ""
            if self.path and not stat and self.wanted:
                self.fault = f"{self.path} is not there. Mend RAG_MODELS_FILE."
        except CardsError as error:
            before = "The models are described as before." if self._cards else "No model is described."
            self.fault = f"{error} {before}"
        if self.fault:
            log.warning("%s", self.fault)

    def of(self, model: str) -> Card | None:
        """
        The card of a model, by its alias or a longer id that means it; the longest alias wins.

        >>> cards = Cards(None, _cards={"phi-4-mini": Card("phi-4-mini"), "phi-4": Card("phi-4")})
        >>> cards.of("microsoft/Phi-4-mini-instruct-generic-cpu:5")
        Card(alias='phi-4-mini', capabilities=frozenset(), size_mb=None, licence='', context=None, price_in=None, \
price_out=None, notes='')
        """
        fitting = [alias for alias in self._cards if means(alias, model)]
        return self._cards[max(fitting, key=len)] if fitting else None

    def all(self) -> list[Card]:
        """All cards, in the file's order."""
        return list(self._cards.values())


def wanted_by(question: str) -> Capability:
    """
    What a question wants of a model, by its words: the workshop's four intents.

    >>> wanted_by("Summarise the privacy page."), wanted_by("Which port is used?")
    ('summarise', 'general')
    """
    return next((capability for capability, words in _WANTS.items() if words.search(question)), "general")


def read_cards(path: Path) -> dict[str, Card]:
    """
    Read a file of cards: a JSON object, alias -> what is known of the model.

    Raises:
        CardsError: it cannot be read, or something in it is of the wrong kind; names the file, the alias and the value.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise CardsError(f"{path} is too large for a list of models.")
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise CardsError(f"{path} cannot be read as a list of models ({error}).") from error
    if not isinstance(found, dict):
        raise CardsError(f'{path} must be a JSON object of models, such as {{"phi-4-mini": {{"size_mb": 3600}}}}.')
    return {alias: _card(alias, told, path) for alias, told in found.items()}


def _card(alias: str, told: Any, path: Path) -> Card:
    where = f"{path}: {alias}"
    if not alias.strip() or not isinstance(told, dict):
        raise CardsError(f"{where} must be a JSON object, was: {told!r:.80}.")
    if unknown := sorted(told.keys() - {"capabilities", *_ALL}):
        raise CardsError(f"{where}: there is no field {unknown[0]}; there are capabilities, {', '.join(_ALL)}.")
    capabilities = told.get("capabilities") or []
    if not isinstance(capabilities, list) or not all(one in get_args(Capability) for one in capabilities):
        known = ", ".join(get_args(Capability))
        raise CardsError(f"{where}: capabilities must be a list of {known}, was: {capabilities!r:.80}.")
    for name in _NUMBERS:
        value = told.get(name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (is_number and 0 <= value < _MOST):
            raise CardsError(f"{where}: {name} must be a number of at least 0, or null, was: {value!r:.80}.")
    for name in _TEXTS:
        if not isinstance(told.get(name) or "", str):
            raise CardsError(f"{where}: {name} must be a text, was: {told[name]!r:.80}.")
    given = {name: told[name] for name in _ALL if told.get(name) is not None}
    return Card(alias, frozenset(capabilities), **given)
