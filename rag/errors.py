"""
The error tree. `str(error)` is always fit for a reader: what is wrong, with which value, and what to do.

    RagError
    ├── SettingsError       a setting is unknown, out of range, or contradicts another
    ├── DocumentsError      the documents cannot be read, or there are none
    ├── QuestionError       the question is empty or too long
    ├── Busy                too many questions are already waiting
    ├── SearchError         the search server gave no answer, or not ours
    ├── CalibrationError    the weights of the signals cannot be used, made or written
    ├── CardsError          what is known of the models cannot be read
    ├── DownloadError       a model file could not be had, is not what the hub says, or is gone
    ├── FileError           a file that was named for measuring cannot be read, written, or is not what it should be
    └── ModelError          a model gave no answer
        ├── ModelUnavailable    nobody there: refused, unknown host, not installed, not configured
        ├── ModelRefused        the server said no: wrong model, wrong key, too long, overloaded
        └── ModelBroke          it began and did not end: stalled, cut off, not a model server at all
"""

from __future__ import annotations


class RagError(Exception):
    """Something a reader can be told in one sentence."""


class SettingsError(RagError):
    """A setting is unknown, out of range, or contradicts another."""


class DocumentsError(RagError):
    """The documents cannot be read, or there are none."""


class QuestionError(RagError):
    """The question is empty or too long."""


class Busy(RagError):
    """Too many questions are already waiting."""


class SearchError(RagError):
    """The search server gave no answer: not there, not installed, refused, or its collection is not ours."""


class ModelError(RagError):
    """A model gave no answer, or no whole one."""


class ModelUnavailable(ModelError):
    """Nobody is there: refused, unknown host, not installed, not configured."""


class ModelRefused(ModelError):
    """
    The server answered with an error.

    Attributes:
        status: its HTTP status.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class ModelBroke(ModelError):
    """The answer began and did not end, or was not one: stalled, cut off, malformed."""


class CalibrationError(RagError):
    """The file with the weights of the signals cannot be used: damaged, or made for others."""


class CardsError(RagError):
    """The file with what is known of the models cannot be read, or has something of the wrong kind."""


class DownloadError(RagError):
    """A model file could not be downloaded, is not what the hub says it is, is damaged or is gone."""


class FileError(RagError):
    """A file that was named for measuring cannot be read or written, or is not what it should be."""
