"""Settings and their errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag.errors import SettingsError
from rag.settings import load_settings


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No `.env` of the developer's."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        pytest.param("RAG_K", "0", "RAG_K must be at least 1, was: 0", id="too small"),
        pytest.param("RAG_TEMPERATURE", "3", "RAG_TEMPERATURE must be at most 2.0, was: 3", id="too large"),
        pytest.param("RAG_MIN_CONFIDENCE", "high", "RAG_MIN_CONFIDENCE must be a number, was: high", id="no number"),
        pytest.param("RAG_K", "2.5", "RAG_K must be a whole number, was: 2.5", id="no whole number"),
        pytest.param(
            "RAG_MODE", "turbo", "RAG_MODE must be one of 'hybrid', 'slm', 'llm' or 'refine', was: turbo", id="choice"
        ),
        pytest.param("RAG_MIN_CONFIDENT", "1", "Did you mean RAG_MIN_CONFIDENCE?", id="unknown name"),
        pytest.param("RAG_XQ", "1", "There is no setting RAG_XQ. docs/settings.md", id="unlike any name"),
        pytest.param("RAG_DOCUMENTS", "[1, 2]", "RAG_DOCUMENTS must be a JSON list of texts, for", id="numbers"),
        pytest.param("RAG_SLM_API_KEY", "schlüssel", "RAG_SLM_API_KEY has characters that no key has", id="key"),
        pytest.param("RAG_DOCUMENTS", "hello", "RAG_DOCUMENTS must be a JSON list", id="no list"),
        pytest.param("RAG_SLM_URL", "localhost:80", "must begin with http:// or https://, was: localhost:80", id="url"),
        pytest.param("RAG_SLM_URL", "http://host:port", "must be a URL such as", id="port"),
        pytest.param("RAG_LLM_URL", "http://[::1", "RAG_LLM_URL must be a URL such as", id="bracket"),
        pytest.param("RAG_SLM_GGUF", "/no/such.gguf", "RAG_SLM_GGUF: no file /no/such.gguf", id="no file"),
        pytest.param("RAG_REFINE_TOPICS", '["("]', "'(' is not a regular expression", id="pattern"),
        pytest.param(
            "RAG_ESCALATE_TOPICS", '["("]', "RAG_ESCALATE_TOPICS: '(' is not a regular expression", id="topic"
        ),
        pytest.param(
            "RAG_ESCALATE",
            "maybe",
            "RAG_ESCALATE must be one of 'auto', 'always' or 'never', was: maybe",
            id="escalate",
        ),
        pytest.param("RAG_LLM_EXTRA_BODY", "top_p=1", "must be a JSON object, for example", id="no object"),
        pytest.param("RAG_SLM_EXTRA_BODY", "[1]", 'must be a JSON object, for example {"top_p": 0.9}', id="a list"),
        pytest.param("RAG_SLM_EXTRA_BODY", '{"model": "x"}', "must not set model: the chat does", id="own field"),
        pytest.param("RAG_LLM_PRICE_IN", "-1", "RAG_LLM_PRICE_IN must be at least 0.0, was: -1", id="price"),
        pytest.param("RAG_LLM_PRICE_IN", "inf", "RAG_LLM_PRICE_IN must be a number", id="no price"),
        pytest.param("RAG_SLM_EXTRA_BODY", '{"top_p": NaN}', "has a number that JSON has not", id="not a number"),
        pytest.param("RAG_FOUNDRY_MODELS", "/nope", "RAG_FOUNDRY_MODELS needs RAG_FOUNDRY=embed", id="not embedded"),
        pytest.param("RAG_FOUNDRY", "on", "must be one of 'find', 'embed' or 'off', was: on", id="foundry"),
        pytest.param("RAG_LLM_TTFT_BUDGET_MS", "-1", "RAG_LLM_TTFT_BUDGET_MS must be at least 0, was: -1", id="budget"),
        pytest.param("RETRY_ON_FAIL", "maybe", "RETRY_ON_FAIL must be 1 or 0, was: maybe", id="workshop name"),
    ],
)
def test_a_wrong_value_names_itself_and_the_remedy(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    """The name as the user wrote it, the limit, and the value."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert message in str(raised.value)


def test_the_workshops_names_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in a workshop user's `.env` already is understood."""
    for name, value in {
        "FOUNDRY_LOCAL_ENDPOINT": "http://localhost:5273",
        "SLM_ALIAS": "qwen2.5-0.5b",
        "LLM_ALIAS": "gpt-oss-120b",
        "RETRY_ON_FAIL": "0",
        "RETRY_BACKOFF": "1.5",
    }.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.foundry_local_endpoint == "http://localhost:5273"
    assert (settings.slm_model, settings.llm_model) == ("qwen2.5-0.5b", "gpt-oss-120b")
    assert (settings.retry_on_fail, settings.retry_backoff) == (False, 1.5)


def test_our_own_name_wins_over_the_workshops(monkeypatch: pytest.MonkeyPatch) -> None:
    """The more specific name was meant for us."""
    monkeypatch.setenv("SLM_ALIAS", "one")
    monkeypatch.setenv("RAG_SLM_MODEL", "two")
    assert load_settings().slm_model == "two"


def test_the_env_file_is_read_and_an_empty_line_means_not_set(tmp_path: Path) -> None:
    """`RAG_SLM_URL=` is how people switch a setting off."""
    (tmp_path / ".env").write_text("RAG_K=7\nRAG_SLM_URL=\nOTHER=1\nBENCH_MODELS=all\n")
    settings = load_settings()
    assert (settings.k, settings.slm_url) == (7, None)


def test_a_price_that_is_not_known_is_none_and_names_of_others_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Null, never 0; and LLM_MODEL belongs to some other program."""
    monkeypatch.setenv("RAG_CLOUD_PRICE_IN", "none")
    monkeypatch.setenv("LLM_MODEL", "other")
    settings = load_settings()
    assert (settings.cloud_price_in, settings.llm_model) == (None, "gpt-oss-20b")


def test_a_tilde_in_the_env_file_is_the_home_folder(tmp_path: Path) -> None:
    """A shell would have expanded it; here nobody else does."""
    (tmp_path / ".env").write_text("RAG_DOCS_DIR=~/notes\n")
    assert load_settings().docs_dir == Path.home() / "notes"


def test_an_unknown_name_in_the_env_file_is_found_too(tmp_path: Path) -> None:
    """A typing error there is as silent as one in the environment."""
    (tmp_path / ".env").write_text("RAG_DOC_DIR=x\n")
    with pytest.raises(SettingsError, match=r"RAG_DOC_DIR\. Did you mean RAG_DOCS_DIR"):
        load_settings()


def test_an_env_file_that_is_not_utf8_says_so(tmp_path: Path) -> None:
    """Some editors save it otherwise."""
    (tmp_path / ".env").write_bytes("# Grüße\nRAG_K=2".encode("latin-1"))
    with pytest.raises(SettingsError, match=r"\.env is not UTF-8"):
        load_settings()


def test_a_url_and_a_file_for_the_same_model_contradict_each_other(tmp_path: Path) -> None:
    """Neither is silently preferred."""
    (tmp_path / "m.gguf").write_bytes(b"x")
    with pytest.raises(SettingsError, match="RAG_LLM_URL and RAG_LLM_GGUF are both set"):
        load_settings(llm_url="http://x", llm_gguf=tmp_path / "m.gguf")


def test_a_key_is_never_shown() -> None:
    """Neither in a print of the settings nor in an error."""
    settings = load_settings(slm_api_key="sk-secret")
    assert "sk-secret" not in repr(settings)
    assert "sk-secret" not in settings.model_dump_json()


def test_an_index_among_the_documents_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be read as documents, which changes it, which changes the documents."""
    monkeypatch.setenv("RAG_DOCS_DIR", str(tmp_path / "docs"))
    monkeypatch.setenv("RAG_INDEX_DIR", str(tmp_path / "docs" / "index"))
    with pytest.raises(SettingsError, match="RAG_INDEX_DIR lies among the documents"):
        load_settings()
    monkeypatch.setenv("RAG_INDEX_DIR", str(tmp_path / "docs" / ".index"))
    assert load_settings().index_dir == tmp_path / "docs" / ".index"
