"""Matrix products in one thread of BLAS: they sum in one order then, whatever the machine, and leave cores to ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import scipy.linalg  # noqa: F401 - brings a BLAS of its own, which must be there to be held
from threadpoolctl import threadpool_limits


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold the process's BLAS to one thread. Where threads of ours work, hold it around all of them."""
    with threadpool_limits(1, user_api="blas"):
        yield
