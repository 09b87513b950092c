"""The results that are kept: the ones used last, within a number of bytes."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from threading import Lock

from nucleus.app.refusals import RefusalError
from nucleus.app.result import Result


class Shelf:
    """Results by secret keys: whoever has the key of an image may see it.

    Args:
        most_bytes: of all together. The newest one is kept in any case.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._results: OrderedDict[str, Result] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._results)

    @property
    def nbytes(self) -> int:
        """Of all together."""
        return sum(result.nbytes for result in self._results.values())

    def put(self, result: Result) -> str:
        """Keep a result, let go of those used longest ago if they are too many, and give its key."""
        key = secrets.token_urlsafe(16)
        with self._lock:
            self._results[key] = result
            while len(self._results) > 1 and self.nbytes > self.most_bytes:
                self._results.popitem(last=False)
        return key

    def get(self, key: str) -> Result:
        """The result of a key; RefusalError if it is not kept any more."""
        with self._lock:
            result = self._results.get(key)
            if result is None:
                raise RefusalError(404, "This image is no longer kept: only the last ones are. Please open it again.")
            self._results.move_to_end(key)
            return result

    def drop(self, key: str) -> None:
        """Let go of a result, if it is still there."""
        with self._lock:
            self._results.pop(key, None)
