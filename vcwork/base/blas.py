"""faiss, with matrix products as fast as its processor makes them: `from vcwork.base.blas import faiss`.

The OpenBLAS inside faiss's wheel (0.3.15, of 2021) knows processors by their number, and computes on each that is
younger (Intel's of the 12th generation, Sapphire Rapids) as if it had SSE3 alone: five times slower. NumPy's newer one
looks at what the processor has; its word is passed on while faiss is loaded, unless the user's own stands there.
Known gap: where faiss was imported before by somebody else, or NumPy has no OpenBLAS, all stays as it is.
"""

import os
from types import ModuleType

import numpy  # noqa: F401  (brings the OpenBLAS that is asked)
from threadpoolctl import threadpool_info

from vcwork.base.settings import environment

ASKED = "OPENBLAS_CORETYPE"
KNOWN = {"Haswell": "Haswell", "Zen": "Zen"}  # NumPy's word -> the old one's, which falls to SSE3 at one it lacks
KNOWN |= dict.fromkeys(("SkylakeX", "Cooperlake", "SapphireRapids"), "SkylakeX")  # all with AVX-512


def kernels() -> str | None:
    """Which of its kernels the old OpenBLAS should take, by what the newer one found; None: its own choice."""
    found = [each.get("architecture") for each in threadpool_info() if each["internal_api"] == "openblas"]
    return next((KNOWN[name] for name in found if name in KNOWN), None)


def _load() -> ModuleType:
    chosen = None if ASKED in os.environ else kernels()
    with environment({ASKED: chosen} if chosen else {}):
        import faiss
    return faiss


faiss = _load()
