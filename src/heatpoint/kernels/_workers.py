"""Threads that work on parts of a call side by side, each with its share of torch's own threads.

An operation of torch on a block that fits the caches ends before its second thread is awake. Threads that each have a block of
their own need none.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

import torch

# Each works on a block of its own: more of them would take more memory.
MOST = 4
# Seconds that a thread may take to start.
PATIENCE = 60.0
T = TypeVar("T")
R = TypeVar("R")
_own = threading.local()


def side_by_side(work: Callable[..., object], tasks: Sequence[Sequence[object]], *, number: int = MOST) -> None:
    """Does work(*task) for each task, in any order, without gradients, by up to `number` threads that share torch's.

    A single one has one thread of torch's: small operations do not wait for another to wake.
    The caller's own thread does it if torch has a single one, for a single task, and for a call from within one. When this ends,
    nothing is at work any more: after a task that raised, those that were begun are done, and it is raised again.
    """
    threads = torch.get_num_threads()
    waiting: SimpleQueue[Sequence[object]] = SimpleQueue()
    for task in tasks:
        waiting.put(task)
    is_inference = torch.is_inference_mode_enabled()

    def take() -> None:
        with torch.inference_mode(is_inference), torch.no_grad(), suppress(Empty):
            while True:
                work(*waiting.get_nowait())

    if min(threads, len(tasks)) < 2 or getattr(_own, "is_worker", False):
        take()
        return
    number = min(number, threads)
    pool = _pool(os.getpid(), number, threads)
    begun: list[Future[None]] = []
    try:
        with suppress(RuntimeError):  # At the interpreter's end no thread can be had.
            begun += [pool.submit(take) for _ in range(min(number, len(tasks)))]
        if not begun:
            take()
        for future in begun:
            future.result()
    finally:
        with suppress(Empty):
            while True:
                waiting.get_nowait()
        for future in begun:
            future.exception()


class Ahead(Generic[T]):
    """Things that are made one after the other: when they are taken, or one ahead, by another than the thread that works on them.

    Args:
        things: Makes each when it is asked for the next.
    """

    def __init__(self, things: Iterator[T]) -> None:
        self._things = things
        self._is_served = False
        self._wanted: SimpleQueue[bool] = SimpleQueue()
        self._made: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

    def take(self) -> T:
        """The next; there must be one. From now on the one after it is made, where another thread makes them."""
        if not self._is_served:
            return next(self._things)
        made, problem = self._made.get()
        if problem is not None or made is None:
            raise problem or AssertionError("all have been taken")
        self._wanted.put(True)
        return made

    def serve(self, work: Callable[[], R]) -> R:
        """What work() returns: it takes them, in a thread that has one of torch's, while the calling one makes them.

        In inference mode, in which small operations take less: what it returns, if that is made there, can stand in no graph.
        The calling thread does both, in turn, if torch has a single one, and for a call from within another's work. When this
        ends, nothing is at work any more.
        """
        threads = torch.get_num_threads()

        def run() -> R:
            try:
                with torch.inference_mode():
                    return work()
            finally:
                self._wanted.put(False)

        if threads < 2 or getattr(_own, "is_worker", False):
            return run()
        self._is_served = True
        future: Future[R] | None = None
        problem: BaseException = AssertionError("all have been made")
        try:
            with suppress(RuntimeError):  # At the interpreter's end no thread can be had.
                future = _pool(os.getpid(), 1, threads).submit(run)
            if future is None:
                self._is_served = False
                return run()
            is_wanted = True
            while is_wanted:
                self._made.put(self._next())
                is_wanted = self._wanted.get()
        except BaseException as raised:  # An interrupt too.
            problem = raised
            raise
        finally:
            # Whatever has happened here, the thread does not wait for more.
            self._made.put((None, problem))
            if future is not None:
                future.exception()
        return future.result()

    def _next(self) -> tuple[T | None, Exception | None]:
        """The next, None if there is none, or what goes wrong with it: it is raised where that would be taken."""
        try:
            with torch.no_grad():
                return next(self._things, None), None
        except Exception as problem:
            return None, problem


@functools.lru_cache(maxsize=4)
def _pool(process: int, number: int, threads: int) -> ThreadPoolExecutor:
    """Threads of this process, which a fork does not take along, that share `threads` of torch's."""
    pool = ThreadPoolExecutor(number, "heatpoint")
    together = threading.Barrier(number, timeout=PATIENCE)
    shares = [threads // number + (k < threads % number) for k in range(number)] if number > 1 else [1]
    before = [future.result() for future in [pool.submit(_take_share, together, share) for share in shares]]
    # The number that counts for threads to come was set along with theirs. Where the caller's own is another, it stays.
    if before[0] == threads:
        torch.set_num_threads(threads)
    else:
        restoring = threading.Thread(target=torch.set_num_threads, args=before[:1])
        restoring.start()
        restoring.join()
    return pool


def _take_share(together: threading.Barrier, share: int) -> int:
    """Sets how many of torch's threads the calling one has; returns what it had."""
    before = (
        torch.get_num_threads()
    )  # At its first use torch gives a thread the process's number, over one that is set before.
    together.wait()  # All of them are there: that number is another for as short a time as can be.
    torch.set_num_threads(share)
    _own.is_worker = True
    return before
