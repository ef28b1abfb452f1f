"""Every knob, in one place: read from the environment and from `.env`, checked at start."""

from __future__ import annotations

import difflib
import math
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from rag.contradictions import is_visible_in, refuse_contradictions
from rag.errors import SettingsError

Mode = Literal["hybrid", "slm", "llm", "refine"]
Escalate = Literal["auto", "always", "never"]

_Path = Annotated[Path, AfterValidator(Path.expanduser)]  # no shell expands ~ in .env
_Price = Annotated[
    float | None,
    BeforeValidator(lambda value: None if str(value).lower() == "none" else value),
    AfterValidator(lambda price: _finite(price)),
]


_Place = Annotated[
    Path | None,
    BeforeValidator(lambda value: None if str(value).lower() == "none" else value),
    AfterValidator(lambda path: path and path.expanduser()),
]


# How a model can be given; one of them at most.


def _finite(price: float | None) -> float | None:
    if price is not None and not math.isfinite(price):
        raise ValueError("must be a number")
    return price


def _workshop(name: str, workshop_name: str) -> AliasChoices:
    return AliasChoices(f"RAG_{name.upper()}", workshop_name)


class Settings(BaseSettings):
    """
    The settings of one run. Each is the environment variable `RAG_` plus its name in capitals.

    Raises:
        pydantic.ValidationError: a value is out of range; `load_settings` turns it into a sentence.
    """

    model_config = SettingsConfigDict(
        env_prefix="RAG_",
        env_file=".env",
        env_ignore_empty=True,  # a line `RAG_SLM_URL=` means 'not set', not 'the empty URL'
        populate_by_name=True,
        extra="ignore",
        hide_input_in_errors=True,
    )

    # --- Documents and retrieval -------------------------------------------------------------------------
    docs_dir: _Path = Field(Path("docs"), description="The folder with the documents, read with its subfolders.")
    documents: list[str] = Field(
        [], description="Documents given inline, as a JSON list of texts; used instead of the folder."
    )
    language: str | None = Field(
        None,
        pattern="^[a-z]{2,3}$",
        description="The language of all documents, as a code such as en; empty: told by each document's text.",
    )
    chunk_words: int = Field(150, ge=20, le=2000, description="The size of a chunk, in words.")
    by_meaning: bool = Field(True, description="Compare the best chunks with the question by meaning too.")
    index_dir: _Place = Field(
        Path(".index"),
        description="Where the index is kept, so that the next start reads only what changed; none: nowhere.",
    )
    index: Literal["bm25", "qdrant"] = Field(
        "bm25", description="What searches: bm25 on this machine, or qdrant on a server for sets past one machine."
    )
    qdrant_url: str | None = Field(None, description="The Qdrant server, for RAG_INDEX=qdrant.")
    qdrant_api_key: SecretStr | None = Field(None, description="Its key, if it asks for one; never shown or logged.")
    qdrant_collection: str = Field("grounded", min_length=1, description="The collection of the documents there.")
    k: int = Field(4, ge=1, le=50, description="How many chunks are searched for evidence.")
    evidence_tokens: int = Field(
        100, ge=20, le=8000, description="The budget for evidence in the prompt, in estimated tokens."
    )
    min_coverage: float = Field(
        0.25,
        ge=0,
        le=1,
        description="Least share of the question's words in the best sentence; below it the documents do not answer.",
    )
    history_turns: int = Field(1, ge=0, le=20, description="How many earlier questions and answers go into the prompt.")

    # --- The small language model (SLM) ------------------------------------------------------------------
    slm_url: str | None = Field(
        None,
        description="An OpenAI-compatible server for the SLM. Empty: Foundry Local if found, else the embedded model.",
    )
    slm_gguf: _Path | None = Field(None, description="A .gguf file to run as the SLM on this machine.")
    slm_backend: str | None = Field(
        None, description="A backend of your own for the SLM, as module:factory, a name that Python can import."
    )
    slm_model: str = Field(
        "phi-4-mini",
        min_length=1,
        validation_alias=_workshop("slm_model", "SLM_ALIAS"),
        description="The name of the SLM on its server.",
    )
    slm_api_key: SecretStr = Field(
        SecretStr("none"), description="The key for the SLM's server; never shown or logged."
    )
    slm_extra_body: dict[str, Any] = Field(
        {}, description="More fields of every request to the SLM's server, as a JSON object."
    )
    slm_price_in: _Price = Field(
        None, ge=0, description="What a million prompt tokens cost on the SLM's server, in USD; none: not known."
    )
    slm_price_out: _Price = Field(None, ge=0, description="The same for a million completion tokens, in USD.")
    slm_max_tokens: int = Field(160, ge=1, le=32_000, description="The longest draft, in tokens.")
    foundry_local_endpoint: str | None = Field(
        None,
        validation_alias=_workshop("foundry_local_endpoint", "FOUNDRY_LOCAL_ENDPOINT"),
        description="A running Foundry Local service; used for the SLM where RAG_SLM_URL is not set.",
    )
    foundry: Literal["find", "embed", "off"] = Field(
        "find",
        description="find: use a Foundry Local service that runs; embed: its runtime in this process; off: neither.",
    )
    foundry_models: _Path | None = Field(
        None,
        description="For RAG_FOUNDRY=embed: a folder whose subfolders are models of your own, named as they are.",
    )

    # --- The large language model (LLM) ------------------------------------------------------------------
    llm_url: str | None = Field(
        None, description="An OpenAI-compatible server for the LLM. Empty: the SLM's server, if it lists the LLM."
    )
    llm_gguf: _Path | None = Field(
        None, description="A .gguf file to run as the LLM on this machine, loaded on first need."
    )
    llm_backend: str | None = Field(
        None, description="A backend of your own for the LLM, as module:factory, a name that Python can import."
    )
    llm_model: str = Field(
        "gpt-oss-20b",
        min_length=1,
        validation_alias=_workshop("llm_model", "LLM_ALIAS"),
        description="The name of the LLM on its server.",
    )
    llm_api_key: SecretStr = Field(
        SecretStr("none"), description="The key for the LLM's server; never shown or logged."
    )
    llm_extra_body: dict[str, Any] = Field(
        {}, description="More fields of every request to the LLM's server, as a JSON object."
    )
    llm_price_in: _Price = Field(
        None, ge=0, description="What a million prompt tokens cost on the LLM's server, in USD; none: not known."
    )
    llm_price_out: _Price = Field(None, ge=0, description="The same for a million completion tokens, in USD.")
    llm_max_tokens: int = Field(400, ge=1, le=32_000, description="The longest answer of the LLM, in tokens.")
    llm_idle_s: float = Field(600, ge=1, description="After how many idle seconds an LLM from a file is unloaded.")

    models_file: _Place = Field(
        Path("models.json"),
        description="What is known of models: capabilities, size, licence, prices; read again when it changes.",
    )

    # --- Model files of one's own ------------------------------------------------------------------------
    models_dir: _Place = Field(
        Path(".models"),
        description="Where python -m rag models keeps what it downloads; none: nowhere, and nothing of it is used.",
    )
    hub_url: str = Field(
        "https://huggingface.co",
        validation_alias=_workshop("hub_url", "HF_ENDPOINT"),
        description="The hub that model files are downloaded from, or a mirror of it.",
    )
    hub_token: SecretStr | None = Field(
        None,
        validation_alias=_workshop("hub_token", "HF_TOKEN"),
        description="The key for the hub, if it asks for one; sent to the hub alone, never shown or logged.",
    )

    # --- Generation --------------------------------------------------------------------------------------
    temperature: float = Field(0.0, ge=0, le=2, description="0 gives the same answer each time; the workshop used 0.3.")
    threads: int = Field(0, ge=0, le=1024, description="CPU threads for a model on this machine; 0: one for each core.")
    slots: int = Field(2, ge=1, le=64, description="How many questions are answered at the same time.")
    queue_limit: int = Field(
        20, ge=0, le=10_000, description="How many questions may wait for a slot; one more is refused."
    )

    # --- The hybrid router -------------------------------------------------------------------------------
    mode: Mode = Field("hybrid", description="hybrid, slm (local only), llm (large only) or refine.")
    min_draft_words: int = Field(3, ge=0, le=1000, description="A draft with fewer words is escalated.")
    min_confidence: float = Field(0.60, ge=0, le=1, description="A draft with a lower confidence is escalated; 0 to 1.")
    draft_sentences: int = Field(
        0, ge=0, le=1000,
        description="How many sentences of the evidence the SLM is shown; 0: one for the embedded model, else all.",
    )  # fmt: skip
    calibration: _Place = Field(
        Path(".calibration.json"),
        description="The weights that python -m rag calibrate fitted to your questions, used if the file is there; "
        "none: the shipped ones.",
    )
    early_tokens: int = Field(
        12, ge=0, le=32_000, description="After how many tokens a draft is first judged while it grows; 0: never."
    )
    early_confidence: float = Field(
        0.25,
        ge=0,
        le=1,
        description="A growing draft with a lower confidence is stopped; at most RAG_MIN_CONFIDENCE is taken.",
    )
    weak_coverage: float = Field(
        0.0,
        ge=0,
        le=1,
        description="With a lower share of the question's words in the evidence, the LLM is asked without a draft.",
    )
    escalate: Escalate = Field(
        "auto", description="auto: the draft decides; always: every question goes to the LLM; never: none does."
    )
    escalate_topics: list[str] = Field(
        [],
        description="Questions matching one of these regular expressions (a JSON list) go to the LLM without a draft.",
    )
    escalations_per_minute: int = Field(
        0, ge=0, description="The most escalations of all chats in a minute; 0: no limit."
    )
    escalations_per_chat: int = Field(0, ge=0, description="The most escalations of one chat; 0: no limit.")
    llm_ttft_budget_ms: int = Field(
        0, ge=0, description="Do not escalate while the LLM's first word usually takes longer, in milliseconds; 0: off."
    )
    refine_over_chars: int = Field(
        600, ge=0, description="In refine mode, a draft longer than this many characters is polished by the LLM."
    )
    refine_topics: list[str] = Field(
        [],
        description="In refine mode, questions matching one of these regular expressions (a JSON list) are polished.",
    )

    # --- Servers that fail -------------------------------------------------------------------------------
    connect_s: float = Field(2.0, gt=0, description="How long a server may take to accept a connection, in seconds.")
    first_text_s: float = Field(
        120.0, gt=0, description="How long a server may take to send the first text, in seconds."
    )
    between_texts_s: float = Field(15.0, gt=0, description="How long a server may pause between two texts, in seconds.")
    retry_on_fail: bool = Field(
        True,
        validation_alias=_workshop("retry_on_fail", "RETRY_ON_FAIL"),
        description="Ask once more when an overloaded server fails before its first text.",
    )
    retry_backoff: float = Field(
        0.5,
        ge=0,
        le=30,
        validation_alias=_workshop("retry_backoff", "RETRY_BACKOFF"),
        description="How long to wait before that, in seconds.",
    )

    # --- The trace ---------------------------------------------------------------------------------------
    trace: Literal["otel"] | _Place = Field(
        None,
        description="Where every answer is noted, a JSON line a step: a file, otel for OpenTelemetry; none: nowhere.",
    )

    # --- Measuring models side by side -------------------------------------------------------------------
    bench_models: str | None = Field(
        None,
        validation_alias=_workshop("bench_models", "BENCH_MODELS"),
        description="The models that bench measures, with commas between them; empty, auto or ALL: all that are found.",
    )
    bench_rounds: int = Field(
        3,
        ge=1,
        le=10_000,
        validation_alias=_workshop("bench_rounds", "BENCH_ROUNDS"),
        description="How many times bench asks a model each prompt.",
    )
    bench_prompt: str | None = Field(
        None,
        validation_alias=_workshop("bench_prompt", "BENCH_PROMPT"),
        description="The prompt that bench asks; empty: one of its own.",
    )
    bench_stream: bool = Field(
        True,
        validation_alias=_workshop("bench_stream", "BENCH_STREAM"),
        description="Whether bench takes the time of the first text too; 0: of whole answers alone.",
    )
    bench_max_tokens: int = Field(
        120,
        ge=1,
        le=32_000,
        validation_alias=_workshop("bench_max_tokens", "BENCH_MAX_TOKENS"),
        description="The longest answer in bench, in tokens.",
    )
    bench_temperature: float = Field(
        0.2,
        ge=0,
        le=2,
        validation_alias=_workshop("bench_temperature", "BENCH_TEMPERATURE"),
        description="The temperature of the models in bench.",
    )
    show_usage: bool = Field(
        False,
        validation_alias=_workshop("show_usage", "SHOW_USAGE"),
        description="Whether ask ends with the tokens of each model, as compare and bench always do.",
    )
    compare_prompt: str | None = Field(
        None,
        validation_alias=_workshop("compare_prompt", "COMPARE_PROMPT"),
        description="The prompt that compare asks; empty: one of its own.",
    )

    # --- The page ----------------------------------------------------------------------------------------
    max_question_chars: int = Field(8000, ge=1, le=500_000, description="The longest question, in characters.")
    grace_s: float = Field(
        15.0, ge=0, description="How long after a closed tab its answer is still generated, in seconds."
    )
    feedback: _Place = Field(
        Path("feedback.jsonl"), description="The file that answers marked as wrong are noted in; none: no marking."
    )
    cloud_price_in: _Price = Field(
        0.15,
        ge=0,
        description="A hypothetical cloud's price for a million prompt tokens, in USD; none: not known.",
    )
    cloud_price_out: _Price = Field(0.60, ge=0, description="The same for a million completion tokens, in USD.")

    @model_validator(mode="after")
    def _values_fit_together(self) -> Settings:
        refuse_contradictions(self)
        if self.feedback and is_visible_in(self.feedback, self.docs_dir) and not self.documents:
            self.feedback = Path(".feedback.jsonl")  # the chat's own folder is the documents' folder: hidden there
        return self


def env_names(field: str) -> list[str]:
    """The environment variables of a setting: ours first, then the workshop's name for it if it has one."""
    alias = Settings.model_fields[field].validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [f"RAG_{field.upper()}"]
    return [str(choice) for choice in choices]


def load_settings(**overrides: Any) -> Settings:
    """
    Read the settings from the environment and `.env`; `overrides` win over both.

    Raises:
        SettingsError: a value is out of range, a `RAG_` name is unknown, or values contradict each other.
    """
    _refuse_unknown_names()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError(
            "\n".join(dict.fromkeys(_sentence(detail) for detail in error.errors(include_url=False)))
        ) from None
    except ValueError as error:  # pydantic-settings: a list that is not JSON
        field = re.search(r'field "(\w+)"', str(error))
        name = env_names(field[1])[0] if field else "A list setting"
        shape = 'object, for example {"top_p": 0.9}' if name.endswith("_BODY") else 'list, for example ["one", "two"]'
        raise SettingsError(f"{name} must be a JSON {shape}.") from error


def _refuse_unknown_names() -> None:
    known = {name for field in Settings.model_fields for name in env_names(field)} | _OURS_ELSEWHERE
    for name in sorted(name for name in {*os.environ, *_env_file()} if name.upper().startswith("RAG_")):
        if name.upper() in known:
            continue
        near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.75)
        hint = f" Did you mean {near[0]}?" if near else " docs/settings.md lists all of them."
        raise SettingsError(f"There is no setting {name}.{hint}")


def _env_file() -> dict[str, str | None]:
    try:
        return dotenv_values(".env", interpolate=False)
    except UnicodeDecodeError as error:
        raise SettingsError(f".env is not UTF-8 (byte {error.start}): save it as UTF-8.") from error


# Read by the tests and the browser, not by the product.
_OURS_ELSEWHERE = {"RAG_CHROMIUM", "RAG_TEST_ONNX"}

_SAYINGS = {
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "greater_than": "must be above {gt}",
    "string_too_short": "must not be empty",
    "string_pattern_mismatch": "must be a language code such as en or de",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "bool_parsing": "must be 1 or 0",
    "literal_error": "must be one of {expected}",
    "string_type": 'must be a JSON list of texts, for example ["one", "two"]',
    "list_type": 'must be a JSON list of texts, for example ["one", "two"]',
    "dict_type": 'must be a JSON object, for example {{"top_p": 0.9}}',
}


def _sentence(detail: Any) -> str:
    if not detail["loc"]:
        return str(detail["msg"]).removeprefix("Value error, ")
    field = str(detail["loc"][0])
    names = env_names(field) if field in Settings.model_fields else _siblings(field)
    values = {**_env_file(), **os.environ}
    name = next((name for name in names if name in values), names[0])
    said = str(detail["msg"]).lower().removeprefix("value error, ")
    saying = _SAYINGS.get(detail["type"], said).format(**detail.get("ctx", {}))
    was = f", was: {values[name]}" if name in values and not re.search("KEY|TOKEN$", name) else ""
    return f"{name} {saying}{was}"


def _siblings(name: str) -> list[str]:
    """All names of the setting that has this one."""
    for field in Settings.model_fields:
        if name in env_names(field):
            return env_names(field)
    return [name]
