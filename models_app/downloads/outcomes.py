"""How a download ended that failed, as the error that it was."""

from typing import Final

from models_app.errors import (
    DiskFullError,
    DownloadError,
    GatedError,
    NoQuantError,
    OfflineError,
    UnavailableError,
    UnknownReferenceError,
    UnsupportedDownloadError,
    WrongHashError,
)

_BY_CODE: Final[dict[str, type[DownloadError]]] = {
    kind.code: kind
    for kind in (
        DiskFullError,
        GatedError,
        NoQuantError,
        OfflineError,
        UnavailableError,
        UnknownReferenceError,
        UnsupportedDownloadError,
        WrongHashError,
    )
}


def error_of(code: str, text: str) -> DownloadError:
    """Return the error of a word for programs, such as disk_full, and a sentence."""
    return _BY_CODE.get(code, DownloadError)(text)
