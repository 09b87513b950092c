"""How the page says no: one sentence that a person can act on, without a path, a temporary name or a traceback."""

from __future__ import annotations

import re

from nucleus.errors import InputError

UPLOADED = "uploaded image"  # the name of the temporary file and of arrays, which errors mention
PREFIX = "nucleus-page-"  # of temporary folders
# Temporary names, and anything else that looks like a path of this machine. Messages of decoders can hold them.
PATHS = re.compile(rf"[^\s'\"]*{PREFIX}\w*(?:[/\\]{UPLOADED})?|(?:[A-Za-z]:)?(?:[/\\][\w.@+-]+){{2,}}[/\\]?")
OPTION = re.compile(r"--\w+")


class RefusalError(Exception):
    """A request that is answered with a sentence.

    Args:
        status: of HTTP.
        sentence: shown to the user.
        retry_seconds: after which the same request may succeed; None if it will not.
    """

    def __init__(self, status: int, sentence: str, *, retry_seconds: int | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.retry_seconds = retry_seconds


def sentence_of(error: InputError) -> str:
    """What an error of the library says, for somebody who sees the page and not the file system or the command line.

    Args:
        error: of reading or writing an image.

    Returns:
        Expected, found, and the remedy unless it names an option of a command. What a decoder stumbled over means
        nothing to the user of a damaged file, and is left out.
    """
    if "truncated" in error.remedy:
        return "This file could not be read as an image: it is damaged, cut off, or something else. Export it again."
    remedy = "" if OPTION.search(error.remedy) else error.remedy
    found = PATHS.sub("a file", error.found)
    return f"This file could not be used: expected {error.expected}, found {found}. {remedy}".strip()
