"""Numbers about a training step that are worth a look but not a wait."""

from __future__ import annotations

import torch
from detectron2.utils.events import get_event_storage

PERIOD = 20  # steps; on a GPU the numbers of the other steps are not fetched


def log_scalars(**values: torch.Tensor | float) -> None:
    """Put scalars into Detectron2's event storage; on a GPU at every 20th step, since reading waits for the device.

    Args:
        values: name -> scalar; "rpn__num_pos_anchors" stands for "rpn/num_pos_anchors". What is not a number (the share
            of none) is left out.
    """
    storage = get_event_storage()
    on_device = any(isinstance(value, torch.Tensor) and value.device.type != "cpu" for value in values.values())
    if on_device and storage.iter % PERIOD:
        return
    numbers = torch.stack([torch.as_tensor(value).float() for value in values.values()]).tolist()
    for name, value in zip(values, numbers, strict=True):
        if value == value:
            storage.put_scalar(name.replace("__", "/"), value)
