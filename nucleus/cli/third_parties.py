"""What other packages say on every run and a user of a command can do nothing about."""

from __future__ import annotations

import logging
import warnings

WARNINGS = (
    (FutureWarning, r"`torch\.jit\.script` is deprecated"),  # Detectron2, as it is imported
    (DeprecationWarning, r"`torch\.jit\.script` is deprecated"),
    (UserWarning, r"torch\.meshgrid: in an upcoming release"),  # Detectron2's anchors
    (UserWarning, r"pkg_resources is deprecated"),  # Detectron2's model zoo
)
LOGGED = (("torch.fx._symbolic_trace", "is_fx_tracing will return true"),)  # Detectron2's ROI pooler


def silence_third_parties() -> None:
    """Leave out these very messages, and no others, for the rest of the process."""
    for category, beginning in WARNINGS:
        warnings.filterwarnings("ignore", message=beginning, category=category)
    for logger, beginning in LOGGED:
        logging.getLogger(logger).addFilter(_Without(beginning))


class _Without(logging.Filter):
    """Drops records that begin with some words."""

    def __init__(self, beginning: str) -> None:
        super().__init__()
        self.beginning = beginning

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is kept."""
        return not record.getMessage().startswith(self.beginning)
