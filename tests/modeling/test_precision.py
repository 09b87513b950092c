from pathlib import Path

import torch

from nucleus.modeling.precision import computes_in_bfloat16


def test_a_processor_computes_in_bfloat16_if_its_flags_say_so():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = set(next(line for line in lines if line.startswith(("flags", "Features"))).split())
    assert computes_in_bfloat16("cpu") == computes_in_bfloat16(torch.device("cpu"))
    if "avx512_bf16" in flags:  # of amx_tile the system has a say, too
        assert computes_in_bfloat16("cpu")
    if not flags & {"avx512_bf16", "amx_tile"}:
        assert not computes_in_bfloat16("cpu")


def test_a_device_without_instructions_does_not():
    assert not computes_in_bfloat16("meta")
    assert torch.cuda.is_available() or not computes_in_bfloat16("cuda:0")
