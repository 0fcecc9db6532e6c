"""What transfers of many files share: errors of groups of tasks, and the count of what became of the files."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from ftpc.errors import FtpcError
from ftpc.progress import Item, Progress
from ftpc.results import TreeFile, TreeResult


@contextmanager
def errors_of_a_group() -> Iterator[None]:
    """Let the error that ended a group of tasks out by itself, ours before any other."""
    try:
        yield
    except BaseExceptionGroup as errors:
        found, _ = errors.split(FtpcError)
        raise first_of(found or errors) from None


def first_of(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Give the first error of a group of groups."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class Tally:
    """Counts and reports what becomes of many files."""

    def __init__(self, item: Item, progress: Progress, report: Callable[[TreeFile], None] | None) -> None:
        self.item = item
        """All small files together."""
        self.progress = progress
        self.result = TreeResult()
        self._report = report

    def take(self, file: TreeFile) -> None:
        """Take note of a file that is done, or can not be."""
        self.result.add(file)
        self.item.go_on()
        if self.item.contents is not None and file.left_out is None and not file.is_folder:
            self.item.contents.done += 1
            self.item.contents.skipped += file.skipped or file.error is not None
        if self._report is not None:
            self._report(file)

    def take_small(self, files: Iterable[TreeFile]) -> None:
        """Take note of small files, which count for the item."""
        for file in files:
            self._take_small(file)
        self.progress.update(self.item)

    def _take_small(self, file: TreeFile) -> None:
        self.item.done += file.size
        self.item.moved += 0 if file.skipped else file.size
        self.take(file)


class TallyOfNamed(Tally):
    """Counts and reports what becomes of files that were named one by one, each of which is an item of its own.

    Each is shown when it is over, all together while they are on their way.
    """

    def _take_small(self, file: TreeFile) -> None:
        if not file.is_folder:
            each = Item(file.remote, file.size if file.error is None else None, self.item.phase)
            self.progress.start(each)
            self.progress.stop(each)
        super()._take_small(file)
