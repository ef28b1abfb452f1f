"""The two rules of the layout: rag/ knows no page, and arrows point one way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Each layer may import itself (where it is a package) and the ones before it.
LAYERS: list[set[str]] = [
    {
        "rag",
        "rag.addresses",
        "rag.arrays",
        "rag.contradictions",
        "rag.errors",
        "rag.languages",
        "rag.machine",
        "rag.naming",
        "rag.okapi",
        "rag.savelock",
        "rag.seen",
        "rag.telling",
        "rag.timings",
        "rag.writing",
    },
    {"rag.calibration", "rag.cards", "rag.gguf", "rag.homes"},
    {"rag.text"},
    {"rag.readers.base", "rag.readers.encodings"},
    {"rag.readers.files", "rag.readers.markdown", "rag.readers.plain", "rag.readers.zipped"},
    {"rag.readers.pdf", "rag.readers.records", "rag.readers.rows", "rag.readers.slides", "rag.readers.web"},
    {"rag.readers.delimited", "rag.readers.ebook", "rag.readers.rst", "rag.readers.sheets", "rag.readers.word"},
    {"rag.readers"},
    {"rag.readers.child"},
    {"rag.readers.process"},
    {"rag.settings", "rag.documents", "rag.waitlist"},
    {"rag.inline"},
    {"rag.blocks"},
    {"rag.chunking"},
    {"rag.passages", "rag.segment"},
    {"rag.grams", "rag.part", "rag.encoder"},
    {"rag.ranking"},
    {"rag.bm25"},
    {"rag.index"},
    {"rag.opposites", "rag.hedging"},
    {"rag.catalogue", "rag.evidence"},
    {"rag.meanings", "rag.shelf"},
    {"rag.ingest", "rag.uploads"},
    {"rag.qdrant.server", "rag.qdrant.points"},
    {"rag.qdrant.collection"},
    {"rag.qdrant.index"},
    {"rag.qdrant.load", "rag.qdrant.follow"},
    {"rag.qdrant"},
    {"rag.library"},
    {"rag.prompts", "rag.signals", "rag.rules"},
    {"rag.confidence"},
    {"rag.followup"},
    {"rag.backends", "rag.backends.base", "rag.backends.chosen", "rag.backends.llama_process"},
    {"rag.backends.channels", "rag.backends.custom", "rag.backends.scripted"},
    {"rag.backends.openai_compatible"},
    {"rag.backends.embedded", "rag.backends.endpoint", "rag.backends.foundry"},
    {"rag.backends.foundry_local", "rag.backends.foundry_runtime"},
    {"rag.backends.foundry_choice"},
    {"rag.backends.choose", "rag.events", "rag.hub"},
    {"rag.fetching"},
    {"rag.costs", "rag.generation", "rag.steps"},
    {"rag.spans"},
    {"rag.journal"},
    {"rag.router"},
    {"rag.composing"},
    {"rag.assistant"},
    {"rag.probing"},
    {"rag.workbench", "rag.workbench.questions", "rag.workbench.intervals"},
    {
        "rag.check",
        "rag.feedback",
        "rag.workbench.evaluate",
        "rag.workbench.scores",
        "rag.workbench.curve",
        "rag.workbench.judging",
    },
    {"rag.workbench.rows"},
    {"rag.workbench.figures", "rag.workbench.trace"},
    {"rag.workbench.comparison", "rag.workbench.drawing", "rag.workbench.mix"},
    {"rag.workbench.calibrate", "rag.workbench.recordings"},
    {"rag.workbench.selection"},
    {"rag.workbench.blend"},
    {"rag.workbench.report"},
    {"rag.workbench.charts", "rag.workbench.paper"},
    {"rag.workbench.page"},
    {"rag.workbench.given"},
    {"rag.workbench.promptset", "rag.workbench.contenders", "rag.workbench.speed", "rag.workbench.marks"},
    {"rag.workbench.annotations", "rag.workbench.bench", "rag.workbench.compare"},
    {"rag.commands", "rag.commands.columns", "rag.commands.parser_models", "rag.commands.terminal"},
    {"rag.commands.parser", "rag.commands.tables"},
    {"rag.commands.sidebyside"},
    {"rag.commands.asking", "rag.commands.keeping", "rag.commands.measuring"},
    {"rag.commands.models", "rag.commands.reporting"},
    {"rag.__main__"},
    {"ui.streaming", "ui.hardening", "ui.report", "ui"},
    {"ui.checking", "ui.comparing", "ui.reply"},
    {"ui.choices"},
    {"ui.feedback"},
    {"ui.session"},
    {"ui.live", "ui.mending", "ui.uploading"},
    {"app"},
]


def modules() -> list[Path]:
    """Every module of the product."""
    return [*sorted((ROOT / "rag").rglob("*.py")), *sorted((ROOT / "ui").glob("*.py")), ROOT / "app.py"]


def name_of(path: Path) -> str:
    """A module's dotted name."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> set[str]:
    """The dotted names that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_nothing_in_rag_imports_chainlit(path: Path) -> None:
    """The brain works without the face; neither does the face's own layer leak in."""
    if name_of(path).startswith("rag"):
        roots = {name.split(".")[0] for name in imports_of(path)}
        assert not roots & {"chainlit", "ui", "app", "socketio", "starlette", "fastapi"}


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_no_lower_module_imports_a_higher_one(path: Path) -> None:
    """A new module must be given its layer here."""
    rank = {name: level for level, names in enumerate(LAYERS) for name in names}
    own = name_of(path)
    assert own in rank, f"{own} has no layer in LAYERS"
    for other in imports_of(path):
        if other.split(".")[0] in ("rag", "ui", "app"):
            assert rank[other] < rank[own], f"{own} imports {other}"


def test_no_file_needs_a_search_box() -> None:
    """A file holds one noun; at 500 lines it holds more."""
    for path in modules():
        assert len(path.read_text(encoding="utf-8").splitlines()) < 500, path
