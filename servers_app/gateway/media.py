"""Refuse media that a llama-server would have to fetch.

llama-server loads an image, a sound or a video whose address is in a request, from wherever
that leads: the machine's own network, or with file:// its disk. Who may ask a model would
ask those, too.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from servers_app.gateway.errors import InvalidRequestError

# Of OpenAI's chat and responses, Anthropic's messages, and llama-server's own additions.
_URL_KEYS: Final = frozenset({"url", "image_url", "audio_url", "video_url", "file_url"})
_DATA_KEYS: Final = frozenset({"input_audio", "input_video", "file"})
_TEXT_ONLY: Final = frozenset({"tools", "metadata", "response_format"})  # holds no media
_SHOWN_CHARS: Final = 60


def refuse_remote_media(values: Mapping[str, Any]) -> None:
    """Refuse a request that has media by their address.

    What was parsed is walked, texts passed over: for a usual request that takes less time
    than a search of its bytes, and no spelling of a key hides one.

    Args:
        values: the top level of the body, parsed.

    Raises:
        InvalidRequestError: one of the media is no data: URL.
    """
    for key, address in _addresses(values):
        message = (
            f"`{key}` is {address[:_SHOWN_CHARS]!r}, which is not fetched from here. Send the "
            "media itself: a data: URL with base64 (`data:image/png;base64,…`), or base64 in "
            "`input_audio`."
        )
        raise InvalidRequestError(message, param=key)


def _addresses(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the key and the text of what stands where media do, and is an address."""
    left: list[Any] = [{key: value for key, value in values.items() if key not in _TEXT_ONLY}]
    while left:
        value = left.pop()
        if type(value) is list:
            left += [inner for inner in value if type(inner) is dict or type(inner) is list]
            continue
        for key, inner in value.items():
            if type(inner) is str:
                if key in _URL_KEYS and not inner.startswith("data:"):
                    yield key, inner
            elif type(inner) is dict or type(inner) is list:
                left.append(inner)
                if key in _DATA_KEYS and type(inner) is dict:
                    yield from _addresses_for_data(key, inner)


def _addresses_for_data(key: str, media: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, text in media.items():
        # base64 has no colon
        if isinstance(text, str) and ":" in text and not text.startswith("data:"):
            yield f"{key}.{name}", text
