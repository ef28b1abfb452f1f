"""Text from elsewhere as it may be shown: nothing in it moves a cursor, or turns the writing around it."""

from __future__ import annotations

import unicodedata

#: What would turn the text around it, or hide in it.
TURNING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")


def seen(text: str) -> str:
    r"""
    A text without what commands a terminal or turns the writing around; line ends and tabs stay.

    >>> seen("phi\x1b[31m\u202e-4\n")
    'phi[31m-4\n'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        letter
        for letter in text
        if letter in "\n\t" or (unicodedata.category(letter) != "Cc" and letter not in TURNING)
    )
