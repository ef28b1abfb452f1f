"""What a reader can choose: the mode, the settings panel, the starters."""

from __future__ import annotations

from itertools import islice
from typing import Any, cast, get_args

import chainlit as cl
from chainlit.input_widget import Select, Slider
from chainlit.types import CommandDict

from rag.assistant import Assistant, Knobs
from rag.backends.base import Backend
from rag.settings import Mode
from ui.checking import COMMAND as CHECK
from ui.comparing import COMMAND as COMPARE
from ui.report import COMMAND

MODES: dict[Mode, tuple[str, str]] = {
    "hybrid": ("Hybrid", "{slm} drafts every answer. A short or doubtful draft goes to {llm}."),
    "slm": ("Local only", "Only {slm} answers. A doubtful draft is replaced by the documents' own words."),
    "llm": ("Large only", "Every question goes to {llm}."),
    "refine": ("Refine", "{slm} drafts. Long drafts and flagged topics are polished by {llm}."),
}

# What the rules make of the modes that escalate.
_ESCALATE = {
    "auto": "",
    "always": "\n\nEvery question goes straight to {llm} (RAG_ESCALATE).",
    "never": "\n\nEscalation is switched off (RAG_ESCALATE): the documents' own words stand in for a doubtful draft.",
}

_ICONS: dict[Mode, str] = {"hybrid": "hybrid", "slm": "local", "llm": "large", "refine": "refine"}

_OUR_PAGE = "using-the-chat.md"
STARTERS = [
    ("How do I use my own documents?", "documents"),
    ("When is a draft escalated to the large model?", "route"),
    ("What does the waterfall show?", "timing"),
    ("Does anything leave my machine?", "privacy"),
]


def profiles(assistant: Assistant) -> list[cl.ChatProfile]:
    """The modes as chat profiles, the configured one first, each saying which models it really means."""
    models = assistant.models
    slm = named(models.slm) if models else "The small model" + ("" if assistant.started else " (loading)")
    llm = named(models.llm) if models and models.llm else "the large model"
    none = f"\n\n{models.no_llm} Until then, the documents' own words stand in." if models and models.no_llm else ""
    faults = "".join(f"\n\n⚠ {fault}" for fault in assistant.faults)
    questions = starters(assistant)
    ordered = sorted(MODES, key=lambda mode: mode != assistant.settings.mode)
    return [
        cl.ChatProfile(
            name=MODES[mode][0],
            markdown_description=(
                MODES[mode][1].format(slm=slm, llm=llm)
                + _cards(assistant)
                + (_ESCALATE[assistant.settings.escalate].format(llm=llm) if mode in ("hybrid", "refine") else "")
                + ("" if mode == "slm" else none)
                + faults
            ),
            icon=f"/public/icons/{_ICONS[mode]}.svg",
            default=mode == assistant.settings.mode,
            starters=questions,
        )
        for mode in ordered
    ]


def named(backend: Backend) -> str:
    """
    A model as the page names it: where it runs, and under which id where that is not the name that was asked for.

    'phi-4-mini on Foundry Local (Phi-4-mini-instruct-generic-cpu:5)'
    """
    alias = getattr(backend, "alias", backend.label)
    if alias == backend.label:
        return f"**{backend.label}** ({backend.where})"
    return f"**{alias}** on {backend.where.partition(' (')[0]} ({backend.label})"


def _cards(assistant: Assistant) -> str:
    """What is known of the models in use, a line each."""
    models = assistant.models
    labels = [backend.label for backend in (models.slm, models.llm) if backend] if models else []
    known = [(label, card) for label in labels if (card := assistant.cards.of(label)) and card.line]
    return "".join(f"\n\n{label}: {card.line.rstrip('.')}." for label, card in known)


def starters(assistant: Assistant) -> list[cl.Starter]:
    """Questions to begin with: about our manual while it is what is searched, else about the first documents."""
    shelf = assistant.library.shelf
    if not shelf.documents or _OUR_PAGE in shelf.entries:
        return [cl.Starter(label=one, message=one, icon=f"/public/icons/starter-{icon}.svg") for one, icon in STARTERS]
    titles = (shelf.entries[name].title or _title(name) for name in islice(shelf.documents, 100))
    questions = [f"Tell me about {title}" for title in dict.fromkeys(titles) if len(title) <= 60]
    return [
        cl.Starter(label=one, message=one, icon="/public/icons/starter-documents.svg")
        for one in questions[: len(STARTERS)]
    ]


def _title(document: str) -> str:
    return document.rsplit("/", 1)[-1].rsplit(".", 1)[0].replace("_", " ").replace("-", " ")


def commands() -> list[CommandDict]:
    """The commands, for the list that opens at a `/`."""
    return [
        CommandDict(id=name, description=description, icon=icon, button=False, persistent=False, selected=False)
        for name, description, icon in (
            (COMMAND, "Every file of the documents, and what became of it", "files"),
            (COMPARE, "The small and the large model answer the same, side by side", "columns-2"),
            (CHECK, "What works and what does not: models, documents, memory", "stethoscope"),
        )
    ]


def mode_of_profile(name: str | None) -> Mode | None:
    """The mode behind a chat profile's name; None for an unknown one."""
    return next((mode for mode, (label, _) in MODES.items() if label == name), None)


def panel(knobs: Knobs, mode: Mode) -> cl.ChatSettings:
    """The settings panel, showing these values."""
    labels = {MODES[one][0]: one for one in get_args(Mode)}
    return cl.ChatSettings(
        [
            Select(id="mode", label="Mode", items=labels, initial_value=mode),
            Slider(
                id="k", label="Chunks searched", initial=knobs.k, min=1, max=max(20, knobs.k), step=1,
                description="How many chunks of the documents are searched for evidence.",
            ),
            Slider(
                id="evidence_tokens", label="Evidence budget", initial=knobs.evidence_tokens,
                min=20, max=max(1000, knobs.evidence_tokens), step=20,
                description="How much evidence goes into the prompt, in tokens. Less is faster.",
            ),
            Slider(
                id="temperature", label="Temperature", initial=knobs.temperature, min=0, max=2, step=0.1,
                description="0 gives the same answer each time.",
            ),
            Slider(
                id="min_draft_words", label="Shortest draft", initial=knobs.min_draft_words,
                min=0, max=max(50, knobs.min_draft_words), step=1,
                description="A draft with fewer words is escalated.",
            ),
            Slider(
                id="min_confidence", label="Least confidence", initial=knobs.min_confidence, min=0, max=1, step=0.05,
                description="A draft below it is escalated, or replaced by a quotation.",
            ),
        ]
    )  # fmt: skip


def read_panel(values: dict[str, Any], default: Knobs) -> tuple[Knobs, Mode | None]:
    """What the panel says, forced into range: the browser sends floats, and may send anything."""

    def number(name: str, low: float, high: float) -> float:
        value = values.get(name, getattr(default, name))
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            value = getattr(default, name)
        return min(max(float(value), low), high)

    knobs = Knobs(
        k=round(number("k", 1, 50)),
        evidence_tokens=round(number("evidence_tokens", 20, 8000)),
        temperature=round(number("temperature", 0, 2), 2),
        min_draft_words=round(number("min_draft_words", 0, 1000)),
        min_confidence=round(number("min_confidence", 0, 1), 3),
    )
    mode = values.get("mode")
    return knobs, cast(Mode, mode) if mode in MODES else None
