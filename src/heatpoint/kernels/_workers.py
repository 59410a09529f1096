"""Threads that work on parts of a call side by side, each with its share of torch's own threads.

An operation of torch on a block that fits the caches ends before its second thread is awake. Threads that each have a block of
their own need none.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, current_thread

import torch

# Each works on a block of its own: more of them would take more memory.
MOST = 4
_NAME = "heatpoint"


def side_by_side(work: Callable[..., None], tasks: Sequence[Sequence[object]], *, number: int = MOST) -> None:
    """Does work(*task) for each task, in any order, without gradients, by up to `number` threads; raises what one raises.

    With torch on a single thread, and from one of these threads, in the caller's own.
    """
    threads = torch.get_num_threads()
    if threads < 2 or current_thread().name.startswith(_NAME):
        for task in tasks:
            work(*task)
        return
    waiting = iter(tasks)
    is_inference = torch.is_inference_mode_enabled()

    def take() -> None:
        with torch.inference_mode(is_inference), torch.no_grad():
            for task in waiting:  # Of a list's iterator each thread gets what no other has.
                work(*task)

    pool = _pool(os.getpid(), min(threads, MOST), threads)
    for done in [pool.submit(take) for _ in range(min(number, threads, len(tasks)))]:
        done.result()


@functools.lru_cache(maxsize=1)
def _pool(process: int, number: int, threads: int) -> ThreadPoolExecutor:
    """Threads of this process, which a fork does not take along."""
    pool = ThreadPoolExecutor(number, _NAME)
    together = Barrier(number)
    for done in [pool.submit(_take_share, together, threads // number) for _ in range(number)]:
        done.result()
    # Theirs is set for themselves; what torch gives to threads to come was set with it.
    torch.set_num_threads(threads)
    return pool


def _take_share(together: Barrier, threads: int) -> None:
    torch.get_num_threads()  # At a thread's first use torch gives it the process's number, over one that is set before.
    torch.set_num_threads(threads)
    together.wait()
