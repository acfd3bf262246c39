"""Which devices compute in bfloat16, and which only pretend to."""

from __future__ import annotations

from functools import cache

__all__ = ["bfloat16_pays"]


@cache
def bfloat16_pays(kind: str) -> bool:
    """Whether devices of this type ("cpu", "cuda") compute in bfloat16 here.

    Processors without instructions for it emulate it, in many times the time of float32. Of processors, Linux names
    their instructions; elsewhere the answer is no.
    """
    if kind != "cpu":
        return kind == "cuda"
    try:
        with open("/proc/cpuinfo") as handle:
            flags = next((line for line in handle if line.startswith("flags")), "").split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
