"""What an answer cost."""

from __future__ import annotations

import pytest

from rag.backends.base import Usage
from rag.costs import Price, Used, cost_of
from rag.events import Cost

CLOUD = Price(0.15, 0.60)
USED = Usage(1_000_000, 500_000)
UNKNOWN = Price(None, None)


@pytest.mark.parametrize(
    ("price", "usage", "cost"),
    [
        pytest.param(Price(0.15, 0.6), Usage(1000, 100), 0.00021, id="known"),
        pytest.param(Price(None, 0.6), Usage(1000, 100), None, id="no price for the prompt"),
        pytest.param(Price(0.15, None), Usage(1000, 100), None, id="no price for the answer"),
        pytest.param(Price(0.15, 0.6), None, None, id="no usage"),
        pytest.param(Price(0.0, 0.0), Usage(1000, 100), 0.0, id="a price of nothing is a price"),
    ],
)
def test_a_cost_that_is_not_known_is_none(price: Price, usage: Usage | None, cost: float | None) -> None:
    """Never 0 for want of a price."""
    assert price.of(usage) == (None if cost is None else pytest.approx(cost))


@pytest.mark.parametrize(
    ("asked", "cost"),
    [
        pytest.param([], Cost(0.0, 0.0, 0.0), id="nobody"),
        pytest.param([Used(USED)], Cost(0.0, 0.0, 0.45), id="this machine"),
        pytest.param([Used(None)], Cost(0.0, 0.0, None), id="this machine, not counted"),
        pytest.param([Used(USED), Used(USED, Price(2, 8))], Cost(0.0, 6.0, 0.9), id="escalated to a cloud"),
        pytest.param([Used(USED), Used(USED, UNKNOWN)], Cost(0.0, None, 0.9), id="no price"),
        pytest.param([Used(USED, Price(1, 1)), Used(None, Price(2, 8))], Cost(0.0, None, None), id="not counted"),
        pytest.param([Used(USED, Price(0, 0))], Cost(0.0, 0.0, 0.45), id="free"),
    ],
)
def test_what_is_not_known_is_none_and_never_0(asked: list[Used], cost: Cost) -> None:
    """Tokens or a price that nobody knows make the sum unknown."""
    assert cost_of(asked, cloud=CLOUD) == cost
