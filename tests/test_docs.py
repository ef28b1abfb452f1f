"""The documentation names everything that there is, its links lead somewhere, its examples are true."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag.__main__ import _parser
from rag.settings import Settings, env_names

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
ENV_EXAMPLE = ROOT / ".env.example"
FIELDS = sorted(Settings.model_fields)
FIELDS_WITH_DEFAULT = [name for name in FIELDS if Settings.model_fields[name].default is not None]

_FENCED = re.compile(r"(?ms)^```.*?^```")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)[^)]*\)")
_IMAGE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)|<img\b[^>]*\bsrc=[\"']?([^\"'\s>]+)")


def _names_in(path: Path) -> set[str]:
    return set(re.findall(r"[A-Z][A-Z0-9_]+", path.read_text(encoding="utf-8")))


def _commands(parser: argparse.ArgumentParser | None = None) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in (parser or _parser())._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def _flags() -> list[tuple[str, str]]:
    below = [(f"{name} {inner}", one) for name, parser in _commands() for inner, one in _commands(parser)]
    return [
        (command, flag)
        for command, parser in [*_commands(), *below]
        for action in parser._actions
        for flag in action.option_strings
        if flag not in ("-h", "--help")
    ]


def _anchors(page: Path) -> set[str]:
    titles = re.findall(r"(?m)^#{1,6}\s+(.+)$", _FENCED.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_there_are_at_least_a_dozen_pages():
    """The manual is also the default document set, so it has to be worth asking."""
    assert len(PAGES) >= 12


@pytest.mark.parametrize("field", FIELDS)
def test_every_setting_is_on_the_settings_page(field: str):
    """Each name under which a setting can be given stands in docs/settings.md."""
    assert set(env_names(field)) <= _names_in(DOCS / "settings.md")


@pytest.mark.parametrize("field", FIELDS)
def test_every_setting_is_in_the_example_file(field: str):
    """Each name under which a setting can be given stands in .env.example."""
    assert set(env_names(field)) <= _names_in(ENV_EXAMPLE)


@pytest.mark.parametrize("page", [*PAGES, ENV_EXAMPLE], ids=lambda page: page.name)
def test_no_page_names_a_setting_that_does_not_exist(page: Path):
    """What a reader copies from the manual must not be refused at start."""
    known = {name for field in FIELDS for name in env_names(field)}

    named = {name for name in _names_in(page) if name.startswith("RAG_") and name != "RAG_"}

    assert named <= known


def test_the_example_file_shows_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With every line uncommented, .env.example changes nothing: what it shows are the defaults."""
    for field in FIELDS:
        for name in env_names(field):
            monkeypatch.delenv(name, raising=False)
    env = tmp_path / ".env"
    example = ENV_EXAMPLE.read_text(encoding="utf-8")
    env.write_text(re.sub(r"(?m)^# (?=[A-Z_]+=)", "", example), encoding="utf-8")
    nothing = tmp_path / "none"

    assert Settings(_env_file=env) == Settings(_env_file=nothing)


@pytest.mark.parametrize("field", FIELDS_WITH_DEFAULT)
def test_the_settings_page_tells_the_default(field: str):
    """The bullet of a setting has its default value between backticks or as a number."""
    default = Settings.model_fields[field].default
    bullets = re.findall(r"(?ms)^- (.*?)(?=^- |^\s*$)", (DOCS / "settings.md").read_text(encoding="utf-8"))
    bullet = next(one for one in bullets if one.startswith(f"`{env_names(field)[0]}`"))
    said = re.search(r"default\s+(?:is\s+)?`?([^\s`;]+?)`?(?:[;.]?\s|\.$)", bullet)
    assert said, bullet

    value = said[1].removesuffix(".")
    if isinstance(default, bool):
        assert bool(int(value)) == default
    elif isinstance(default, (int, float)):
        assert float(value) == default
    elif hasattr(default, "get_secret_value"):
        assert value == default.get_secret_value()
    else:
        assert value == str(default)


@pytest.mark.parametrize(("command", "flag"), _flags())
def test_every_flag_of_the_command_line_is_documented(command: str, flag: str):
    """Each command and each of its flags stands in docs/command-line.md."""
    text = (DOCS / "command-line.md").read_text(encoding="utf-8")

    assert f"python -m rag {command}" in text
    assert re.search(rf"`{re.escape(flag)}`", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_to_pages_and_headings(page: Path):
    """A link to another page, or to a heading of one, resolves."""
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    for link in _LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), f"{page.name}: {link}"
        if anchor:
            assert anchor in _anchors(target), f"{page.name}: {link}"


@pytest.mark.parametrize("page", [*PAGES, ROOT / "chainlit.md"], ids=lambda page: page.name)
def test_no_page_shows_a_picture_from_another_host(page: Path):
    """The chat quotes its pages; a remote picture would make the browser ask another host."""
    text = page.read_text(encoding="utf-8")

    assert not [one for found in _IMAGE.findall(text) for one in found if re.match(r"(?i)(https?:)?//", one)]


def test_the_first_page_leads_to_every_other():
    """Whoever starts at docs/index.md can reach each page with one click."""
    linked = set(_LINK.findall((DOCS / "index.md").read_text(encoding="utf-8")))

    assert {page.name for page in PAGES} - {"index.md"} <= linked
