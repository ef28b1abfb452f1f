"""What an answer cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rag.backends.base import Usage
from rag.cards import Cards
from rag.events import Cost

_MILLION = 1e6
_DIGITS = 8


@dataclass(frozen=True)
class Price:
    """What a million prompt and completion tokens cost, in US dollars; None: not known."""

    prompt: float | None
    completion: float | None

    def of(self, usage: Usage | None) -> float | None:
        """
        What some tokens cost, in US dollars; None if they or the price are not known.

        >>> Price(0.5, 1.5).of(Usage(1000, 100)), Price(None, 1.5).of(Usage(1000, 100))
        (0.00065, None)
        """
        return None if usage is None else self.dollars(usage.prompt, usage.completion)

    def dollars(self, prompt: float, completion: float) -> float | None:
        """What so many prompt and completion tokens cost, in US dollars, also on average; None if not known."""
        if self.prompt is None or self.completion is None:
            return None
        return (prompt * self.prompt + completion * self.completion) / _MILLION


def card_price(names: Iterable[str | None], cards: Cards) -> Price | None:
    """The price of a model's card, found by the first of its names that has one; None unless it says both."""
    card = next((card for name in names if name and (card := cards.of(name))), None)
    if card is None or card.price_in is None or card.price_out is None:
        return None
    return Price(card.price_in, card.price_out)


@dataclass(frozen=True)
class Used:
    """
    A model that was asked for an answer.

    Attributes:
        usage: as the server counted; None if it did not say.
        price: of its server; None: it runs on this machine.
    """

    usage: Usage | None
    price: Price | None = None


def cost_of(asked: Sequence[Used], *, cloud: Price) -> Cost:
    """
    What an answer cost.

    Args:
        asked: the models that were asked; empty: none was.
        cloud: a hypothetical cloud's price, for what the same tokens would have cost there.
    """
    servers = _sum([one.price.of(one.usage) for one in asked if one.price])
    return Cost(servers=servers, cloud_equivalent=_sum([cloud.of(one.usage) for one in asked]) if asked else 0.0)


def _sum(dollars: Sequence[float | None]) -> float | None:
    known = [one for one in dollars if one is not None]
    return round(sum(known), _DIGITS) if len(known) == len(dollars) else None
