"""A thread for files that may hang, as on a disk that has gone away."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Aside:
    """A thread that does one thing after the other. Unlike those of a pool it keeps no process from ending."""

    def __init__(self, name: str) -> None:
        """Name the thread, which starts if needed."""
        self._name = name
        self._work = SimpleQueue[Callable[[], None]]()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have something done. It can be cancelled as long as it has not begun."""
        future = Future[T]()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = function(*args, **kwargs)
            except BaseException as exc:  # noqa: BLE001 (whatever it is, it is for who waits)
                future.set_exception(exc)
            else:
                future.set_result(result)

        self._work.put(work)
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
        return future

    def _run(self) -> None:
        while True:
            self._work.get()()
