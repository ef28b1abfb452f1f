"""The check as a page in the chat: what works, what does not, and what mends it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rag.probing import Finding
from ui.report import Report, plain

COMMAND = "check"
#: How long a model may take, in seconds; the rest takes milliseconds.
LIMIT_S = 8.0

_MARKS = {"ok": "✓", "missing": "–", "fault": "✗"}
_ORDER = ("fault", "missing", "ok")


def asks_to_check(text: str, command: str | None) -> bool:
    """
    Whether the check was asked for, and not a question.

    >>> asks_to_check("/check", None), asks_to_check("", "check"), asks_to_check("/checkout?", None)
    (True, True, False)
    """
    return command == COMMAND or text.strip().partition(" ")[0] == f"/{COMMAND}"


def checked(findings: Sequence[Finding], *, seconds: float) -> Report:
    """
    Make the page of what was found; the files that are left out are only counted there, as `/docs` lists them.

    Args:
        findings: see `rag.check`; they are shown with the faults first, and then the models.
        seconds: how long the look took.
    """
    shown = [one for one in findings if not one.name.startswith("documents: ")]
    shown.sort(key=lambda one: (_ORDER.index(one.state), one.name not in ("SLM", "LLM")))
    counts = Counter(one.state for one in shown)
    faults = f"{counts['fault']} fault{'s' * (counts['fault'] != 1)}"
    told = f"{faults}, {counts['ok']} of {len(shown)} things work" if counts["fault"] else "No fault was found"
    text = f"{told}. Looking took {seconds:.1f} s."
    lines = [f"- {_MARKS[one.state]} {plain(one.name)}: {plain(one.text)}" for one in shown]
    props = {
        "findings": [{"name": one.name, "state": one.state, "text": one.text} for one in shown],
        "counts": {state: counts[state] for state in _ORDER},
    }
    return Report(f"{text}\n\n" + "\n".join(lines), props)
