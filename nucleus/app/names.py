"""From the name of a user's file to one that is safe in headers, archives and tables. It is never used as a path."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote, unquote

LONGEST = 80  # characters
ENDINGS = re.compile(r"(\.ome)?\.[A-Za-z0-9]{1,6}$", re.IGNORECASE)


def safe_name(encoded: str) -> str:
    """Clean the name of an uploaded file.

    Args:
        encoded: percent-encoded UTF-8, as the browser sends it; anything may be in it.

    Returns:
        Letters and digits of any script, and `._-()` and spaces between them; without folders and ending; "image" if
        nothing is left. It begins with a letter or digit, so that no table program takes it for a formula.
    """
    name = unicodedata.normalize("NFC", unquote(encoded[: LONGEST * 12], errors="replace"))
    name = ENDINGS.sub("", re.split(r"[/\\]", name)[-1])
    name = "".join(one if one.isalnum() or one in "._-() " else "_" for one in name)
    return re.sub(r"^[\W_]+|[\s._-]+$", "", name)[:LONGEST].strip(" ._-") or "image"


def attachment(file_name: str) -> str:
    """The value of Content-Disposition that saves a response under a clean name, as RFC 6266 has it."""
    ascii_name = file_name.encode("ascii", "replace").decode("ascii").replace("?", "_")
    return f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(file_name, safe='')}"
