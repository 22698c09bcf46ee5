"""Asking a driver that may never answer: the question waits in a thread of its own, and the program
goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from harness.probes.base import Unavailable

T = TypeVar("T")
# the modules that once did not answer in time; asking again would cost as long again
_HUNG: list[Any] = []


def answer_in_time(
    driver: Any, ask: Callable[[], T], seconds: float, late: Callable[[T], object] | None = None
) -> T:
    """What `ask` returns or raises. Raises Unavailable where that takes longer, and from then on for
    this `driver`.

    late: takes an answer that comes too late, in the other thread; to release what it holds.
    """
    if any(driver is one for one in _HUNG):
        raise Unavailable("NVML has not answered before, and is not asked again")
    answer: Future[T] = Future()
    threading.Thread(target=_answer, args=(answer, ask, late), name="asks-nvml", daemon=True).start()
    try:
        return answer.result(seconds)
    except TimeoutError:
        if not answer.cancel():  # it came just now
            return answer.result()
        _HUNG.append(driver)
        raise Unavailable(f"NVML has not answered for {seconds:g} s") from None


def _answer(answer: Future[T], ask: Callable[[], T], late: Callable[[T], object] | None) -> None:
    try:
        found = ask()
    except BaseException as error:
        if answer.set_running_or_notify_cancel():
            answer.set_exception(error)
        return
    if answer.set_running_or_notify_cancel():
        answer.set_result(found)
    elif late is not None:
        late(found)
