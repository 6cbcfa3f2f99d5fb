"""Where work is done: lists that are short in the loop, all else in threads; never more than may wait."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from recsys.serving.problems import Problem
from recsys.serving.runtime.pool import Pool


def in_a_loop(threads: int, waiting: int, submit_all: Callable[[Pool, list[Any]], Any]) -> list[Any]:
    """The outcomes of what `submit_all` submits, in the order in which they came."""
    outcomes = list[Any]()

    async def life() -> None:
        pool = Pool(threads, waiting, 60)
        pool.start()
        await submit_all(pool, outcomes)
        while pool.busy:
            await asyncio.sleep(0.001)
        pool.close()

    asyncio.run(life())
    return outcomes


def whose() -> bytes:
    return threading.current_thread().name.encode()


def test_short_lists_are_made_in_the_loop_and_all_else_in_threads() -> None:
    async def submit_all(pool: Pool, outcomes: list[Any]) -> None:
        for one_list in (True, True, False, True):
            pool.submit(outcomes.append, whose, one_list=one_list)
            while pool.busy:
                await asyncio.sleep(0.001)

    first, short, batch, again = in_a_loop(1, 4, submit_all)
    assert first == batch == b"search-0"  # what a list takes is not known before the first
    assert short == again != b"search-0"


def test_a_list_made_in_the_loop_may_fail_and_no_more_wait_than_may() -> None:
    refused = list[Problem]()

    def fail() -> bytes:
        raise ValueError("no")

    async def submit_all(pool: Pool, outcomes: list[Any]) -> None:
        pool.submit(outcomes.append, whose, one_list=True)
        while pool.busy:
            await asyncio.sleep(0.001)
        for work in (whose, fail, whose, whose):
            try:
                pool.submit(outcomes.append, work, one_list=True)
            except Problem as problem:
                refused.append(problem)

    _, one, error, other = in_a_loop(1, 2, submit_all)
    assert one == other
    assert isinstance(error, ValueError)
    assert [problem.code for problem in refused] == ["overloaded"]


@pytest.mark.parametrize("one_list", [False, True])
def test_who_waited_longer_than_they_said_is_told_so(one_list: bool) -> None:
    async def submit_all(pool: Pool, outcomes: list[Any]) -> None:
        pool.submit(outcomes.append, whose, one_list=True)
        while pool.busy:
            await asyncio.sleep(0.001)
        pool.submit(outcomes.append, whose, wait_s=-1, one_list=one_list)

    _, late = in_a_loop(1, 2, submit_all)
    assert isinstance(late, Problem)
    assert late.code == "overloaded"
