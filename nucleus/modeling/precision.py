"""What a device computes fast in."""

from __future__ import annotations

import torch


def computes_in_bfloat16(device: str | torch.device) -> bool:
    """Whether a device has instructions for bfloat16; elsewhere it is slower than float32, on a CPU many times."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # of x86; without a public name in torch
    return kind == "cpu" and any(getattr(torch.cpu, name, lambda: False)() for name in asked)
