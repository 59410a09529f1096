"""Threads that each take parts of a call: they have torch's threads among them, and leave those of others alone."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from heatpoint import Grid, kernels
from heatpoint.kernels import _shared_draws, _workers, shared
from heatpoint.kernels._streams import TableStream
from heatpoint.kernels._workers import Ahead, side_by_side
from heatpoint.scores import expected_error


@pytest.fixture(params=[2, 3, 9])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_every_task_is_done_once_with_a_share_of_the_threads(threads: int) -> None:
    done: list[tuple[int, int, int]] = []
    together = threading.Barrier(2)

    def work(number: int) -> None:
        if number < 2:
            together.wait(20)  # Two at least are at work at a time.
        done.append((number, torch.get_num_threads(), threading.get_ident()))

    side_by_side(work, [(k,) for k in range(50)])
    assert sorted(number for number, *_ in done) == list(range(50))
    number = min(threads, 4)
    assert {share for _, share, _ in done} <= {threads // number, threads // number + 1}
    assert threading.get_ident() not in {ident for *_, ident in done}
    assert torch.get_num_threads() == threads
    others: list[int] = []
    other = threading.Thread(target=lambda: others.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert others == [threads]


def test_one_at_a_time_if_that_is_asked_for(threads: int) -> None:
    idents = set()
    side_by_side(lambda _: idents.add(threading.get_ident()), [(k,) for k in range(20)], number=1)
    assert len(idents) == 1
    assert threading.get_ident() not in idents


def test_a_thread_that_shares_its_own_work_does_it_alone(threads: int) -> None:
    found = []

    def work(_: int) -> None:
        side_by_side(lambda k: found.append((k, threading.get_ident())), [(k,) for k in range(3)])
        found.append((-1, threading.get_ident()))

    side_by_side(work, [(0,), (1,)], number=1)
    del found[4:]
    assert len({ident for _, ident in found}) == 1
    assert [k for k, _ in found] == [0, 1, 2, -1]


def test_what_a_task_raises_is_raised(threads: int) -> None:
    def work(number: int) -> None:
        if number == 3:
            raise ValueError("the third")

    with pytest.raises(ValueError, match="the third"):
        side_by_side(work, [(k,) for k in range(9)])
    side_by_side(lambda _: None, [(0,)])


def test_nothing_is_at_work_after_a_task_has_raised(threads: int) -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        if number == 0:
            raise ValueError("the first")
        time.sleep(0.02)

    with pytest.raises(ValueError, match="the first"):
        side_by_side(work, [(k,) for k in range(200)])
    so_far = len(begun)
    assert so_far < 50
    time.sleep(0.1)
    assert len(begun) == so_far


def test_things_are_made_by_the_caller_and_taken_in_order_by_a_thread(threads: int) -> None:
    makers, takers, most = set(), set(), []
    made, used = [0], [0]

    def things() -> Iterator[int]:
        for number in range(20):
            makers.add(threading.get_ident())
            made[0] += 1
            most.append(made[0] - used[0])
            yield number

    def work() -> list[int]:
        found = []
        for _ in range(20):
            takers.add((threading.get_ident(), torch.get_num_threads()))
            found.append(ahead.take())
            time.sleep(0.001)
            used[0] += 1
        return found

    ahead = Ahead(things())
    assert ahead.serve(work) == list(range(20))
    assert makers == {threading.get_ident()}
    ((taker, share),) = takers
    assert taker != threading.get_ident()
    assert share == 1
    assert max(most) == 2  # While one is in use the next is made, and no other.
    assert torch.get_num_threads() == threads


def test_with_one_thread_things_are_made_as_they_are_taken() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        ahead = Ahead(iter(range(3)))
        assert ahead.serve(lambda: ([ahead.take() for _ in range(3)], threading.get_ident())) == (
            [0, 1, 2],
            threading.get_ident(),
        )
    finally:
        torch.set_num_threads(before)


def test_things_within_a_threads_own_work_are_made_there(threads: int) -> None:
    found = []

    def work(_: int) -> None:
        ahead = Ahead(iter([threading.get_ident]))
        found.append(ahead.serve(lambda: ahead.take()() == threading.get_ident()))

    side_by_side(work, [(0,), (1,)])
    assert found == [True, True]


def test_an_interrupt_while_a_thread_is_being_asked_for_leaves_none_waiting(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = _workers._pool(os.getpid(), 1, threads)

    class Interrupted:
        def submit(self, work: Callable[[], object]) -> object:
            pool.submit(work)
            raise KeyboardInterrupt

    ahead = Ahead(iter([1, 2]))
    monkeypatch.setattr(_workers, "_pool", lambda *_: Interrupted())
    with pytest.raises(KeyboardInterrupt):
        ahead.serve(lambda: [ahead.take(), ahead.take()])
    assert pool.submit(lambda: 3).result(timeout=20) == 3


@pytest.mark.parametrize("fails", ["making", "taking"])
def test_what_is_raised_on_either_side_is_raised_and_ends_the_other(threads: int, fails: str) -> None:
    taken = []

    def things() -> Iterator[int]:
        yield 0
        if fails == "making":
            raise ValueError("making")
        yield from range(1, 100)

    def work() -> None:
        while True:
            taken.append(ahead.take())
            if fails == "taking":
                raise ValueError("taking")

    ahead = Ahead(things())
    with pytest.raises(ValueError, match=fails):
        ahead.serve(work)
    assert taken == [0]
    again = Ahead(iter([5]))
    assert again.serve(again.take) == 5


def test_what_is_raised_by_who_takes_hides_what_goes_wrong_with_the_next(threads: int) -> None:
    is_next_wanted = threading.Event()

    def things() -> Iterator[int]:
        yield 0
        is_next_wanted.set()
        raise ValueError("making")

    def work() -> None:
        ahead.take()
        assert is_next_wanted.wait(20)
        raise ValueError("taking")

    ahead = Ahead(things())
    with pytest.raises(ValueError, match="taking"):
        ahead.serve(work)


def test_what_goes_wrong_with_a_thing_that_nobody_takes_is_nobodys_problem(threads: int) -> None:
    def things() -> Iterator[int]:
        yield 0
        raise ValueError("making")

    ahead = Ahead(things())
    assert ahead.serve(ahead.take) == 0


@pytest.mark.parametrize("wants", [False, True])
@pytest.mark.parametrize("basis", [None, {"name": "gaussian", "sigma": 0.5}])
@pytest.mark.parametrize("block", [500, 2000], ids=["several blocks of a part", "several parts"])
def test_no_more_than_two_blocks_of_draws_are_there(
    threads: int, basis: Any, block: int, monkeypatch: pytest.MonkeyPatch, *, wants: bool
) -> None:
    monkeypatch.setattr(_shared_draws, "BLOCK", (block, block))
    made: list[weakref.ref[Any]] = []
    most = []
    powers = TableStream.powers

    def counted(self: TableStream, *given: Any) -> torch.Tensor:
        found = powers(self, *given).numpy().copy()
        made.append(weakref.ref(found))
        most.append(sum(one() is not None for one in made))
        return torch.from_numpy(found)

    monkeypatch.setattr(TableStream, "powers", counted)
    logits = torch.randn(6, 5, 12, 10, generator=torch.Generator().manual_seed(0)).requires_grad_(wants)
    with kernels.use("gemm"):
        expected_error(logits, Grid((12, 10)), torch.zeros(6, 5, 2), basis=basis, num_samples=7, noise="image")
    assert len(made) > 2
    assert max(most) <= 2


def test_more_than_there_are_cannot_be_taken(threads: int) -> None:
    def work() -> None:
        ahead.take()
        ahead.take()

    ahead = Ahead(iter([1]))
    with pytest.raises(AssertionError, match="all have been taken"):
        ahead.serve(work)


@pytest.mark.parametrize("basis", [None, {"name": "gaussian", "sigma": 0.5}])
def test_callers_in_threads_of_their_own_do_not_wait_for_each_other(
    threads: int, basis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_shared_draws, "BLOCK", (2000, 2000))
    grid, target = Grid((12, 10)), torch.zeros(6, 5, 2)
    logits = torch.randn(6, 5, 12, 10, generator=torch.Generator().manual_seed(0))
    found: list[torch.Tensor] = []

    def call() -> None:
        generator = torch.Generator().manual_seed(2)
        for _ in range(5):
            maps = logits.clone().requires_grad_()
            error = expected_error(maps, grid, target, basis=basis, num_samples=7, noise="image", generator=generator)
            last = torch.autograd.grad(error.sum(), maps)[0]
        found.append(last)

    with kernels.use("gemm"):
        callers = [threading.Thread(target=call) for _ in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(60)
    assert len(found) == 4
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-5, atol=1e-6)


def test_threads_to_come_have_the_processs_number_whoever_made_the_pool() -> None:
    before, found = torch.get_num_threads(), []

    def in_a_thread(work: Callable[[], object]) -> None:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    def make_a_pool() -> None:
        torch.get_num_threads()
        together.wait(20)  # The process's number becomes another meanwhile.
        together.wait(20)
        _workers._pool.cache_clear()
        side_by_side(lambda _: None, [(0,), (1,)])
        found.append(torch.get_num_threads())

    together = threading.Barrier(2)
    try:
        torch.set_num_threads(4)
        maker = threading.Thread(target=make_a_pool)
        maker.start()
        together.wait(20)
        torch.set_num_threads(2)
        together.wait(20)
        maker.join()
        in_a_thread(lambda: found.append(torch.get_num_threads()))
        assert found == [4, 2]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("is_inference", [False, True])
def test_gradients_are_off_and_inference_is_as_it_was(threads: int, *, is_inference: bool) -> None:
    modes = []
    with torch.inference_mode(is_inference):
        side_by_side(lambda _: modes.append((torch.is_grad_enabled(), torch.is_inference_mode_enabled())), [(0,), (1,)])
    assert modes == [(False, is_inference)] * 2


@pytest.mark.parametrize("basis", [None, "triangular"])
def test_results_do_not_depend_on_the_threads(basis: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "LARGE", 1)
    monkeypatch.setattr(_shared_draws, "BLOCK", (2000, 2000))
    grid = Grid((12, 10))
    target = torch.rand(6, 5, 2, generator=torch.Generator().manual_seed(1))
    before, found = torch.get_num_threads(), []
    try:
        for number in (1, 2, 5):
            torch.set_num_threads(number)
            logits = torch.randn(6, 5, 12, 10, generator=torch.Generator().manual_seed(0)).requires_grad_()
            with kernels.use("gemm"):
                error = expected_error(
                    logits, grid, target, basis=basis, num_samples=7, noise="image",
                    generator=torch.Generator().manual_seed(2),
                )  # fmt: skip
            found.append((error, *torch.autograd.grad(error.sum(), logits)))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        for ours, theirs in zip(other, found[0], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_map_that_is_wholly_forbidden_is_named_from_a_thread(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setattr(shared, "LARGE", 1)
    monkeypatch.setattr(_shared_draws, "BLOCK", (40, 40))
    logits = torch.zeros(4, 2, 6)
    logits[2, 1] = -torch.inf
    with kernels.use("gemm"), pytest.raises(ValueError, match="expected_error: logits must leave at least one cell"):
        expected_error(logits, Grid((6,)), torch.zeros(4, 2, 1), num_samples=3, noise="image")
