from __future__ import annotations

import logging
import warnings

import pytest

from nucleus.cli.third_parties import silence_third_parties


def test_these_and_no_others(caplog):
    logger = logging.getLogger("torch.fx._symbolic_trace")
    filters = list(logger.filters)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            silence_third_parties()
            warnings.warn("`torch.jit.script` is deprecated. Please", FutureWarning, stacklevel=1)
            warnings.warn("torch.meshgrid: in an upcoming release, it", UserWarning, stacklevel=1)
            with pytest.raises(UserWarning, match="something else"):
                warnings.warn("something else", UserWarning, stacklevel=1)
        logger.warning("is_fx_tracing will return %s", "true")
        logger.warning("another matter")
        assert [record.getMessage() for record in caplog.records if record.name == logger.name] == ["another matter"]
    finally:
        logger.filters[:] = filters
