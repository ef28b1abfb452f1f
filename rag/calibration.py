"""How much each signal counts in a confidence: the weights, in a small JSON file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from rag.errors import CalibrationError

#: Of the file, and of the signals that its weights are for; raised whenever a signal changes.
VERSION = 2
#: The name of the constant among the weights.
BIAS = "bias"
_MOST_BYTES = 100_000
_MOST_WEIGHT = 1e6


@dataclass(frozen=True)
class Calibration:
    """
    Two mixes of signals, for drafts with and without log-probabilities.

    Attributes:
        model: whose drafts they were fitted on, as its server reports it.
        with_logprobs, without_logprobs: a weight for each signal by its name, and `bias`.
        questions: how many drafts they were fitted on.
        threshold: the confidence that a draft should have to be kept; None: as the settings say.
        target: what the threshold was chosen for, in words.
    """

    model: str
    with_logprobs: Mapping[str, float]
    without_logprobs: Mapping[str, float]
    questions: int = 0
    threshold: float | None = None
    target: str = ""


def read_calibration(path: Path) -> Calibration:
    """
    Read a calibration file.

    Raises:
        CalibrationError: it cannot be read, is damaged, or was made for other signals; names the file.
    """
    again = "Make it again with python -m rag calibrate."
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise CalibrationError(f"{path} is too large for a calibration. {again}")
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CalibrationError(f"{path} is no calibration that can be read ({error}). {again}") from error
    if not isinstance(found, dict) or found.get("version") != VERSION:
        was = found.get("version") if isinstance(found, dict) else None
        raise CalibrationError(f"{path} was made for other signals: version {was}, not {VERSION}. {again}")
    match found:
        case {
            "model": str(model),
            "with_logprobs": dict(with_logprobs),
            "without_logprobs": dict(without_logprobs),
            "questions": int(questions),
            "threshold": int() | float() | None as threshold,
            "target": str(target),
        } if (
            _are_weights(with_logprobs)
            and _are_weights(without_logprobs)
            and (threshold is None or 0 <= threshold <= 1)
        ):
            return Calibration(model, with_logprobs, without_logprobs, questions, threshold, target)
    raise CalibrationError(f"{path} is damaged: it lacks weights, or has odd ones. {again}")


def write_calibration(path: Path, calibration: Calibration) -> None:
    """
    Write a calibration file; whoever reads meanwhile finds the old one or the new one.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    body = {"version": VERSION, **asdict(calibration)}
    temporary.write_text(json.dumps(body, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def _are_weights(weights: Mapping[object, object]) -> bool:
    return BIAS in weights and all(
        isinstance(name, str)
        and isinstance(weight, int | float)
        and not isinstance(weight, bool)
        and -_MOST_WEIGHT <= weight <= _MOST_WEIGHT
        for name, weight in weights.items()
    )


def calibration_for(model: str, path: Path | None, *, wanted: bool) -> tuple[Calibration, str]:
    """
    The calibration for a model's drafts: the user's if it fits, else the shipped one.

    Args:
        model: as its server reports it.
        path: where the user's would be; None: the shipped one is wanted.
        wanted: whether it is a fault if there is none.

    Returns:
        The calibration, and why the user's is not used, in words with the remedy; empty if nothing is wrong.
    """
    if path is None:
        return SHIPPED, ""
    again = "Make it again with python -m rag calibrate."
    try:
        if not path.exists() and not path.is_symlink():
            absent = f"{path} is not there. Make it with python -m rag calibrate, or mend RAG_CALIBRATION."
            return SHIPPED, absent if wanted else ""
        found = read_calibration(path)
    except (OSError, CalibrationError) as error:
        return SHIPPED, str(error)
    if found.model != model:
        return SHIPPED, f"{path} is for drafts of {found.model}, not of {model}. {again}"
    names = SHIPPED.without_logprobs.keys()
    if missing := sorted((names - found.without_logprobs.keys()) | (names - found.with_logprobs.keys())):
        return SHIPPED, f"{path} has no weight for {', '.join(missing)}. {again}"  # as good as 0, which is no choice
    return found, ""


#: Fitted on SmolLM2's drafts for SQuAD questions, nine in twenty of them unanswerable; see benchmarks/README.md.
SHIPPED = read_calibration(Path(__file__).with_name("calibration.json"))
