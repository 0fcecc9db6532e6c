"""What every display does: it follows the items, and knows the total."""

from ftpc.progress import Item


class Display:
    """A `Progress` for a job of several items. This one shows nothing; the others build on it."""

    def __init__(self) -> None:
        self.active: list[Item] = []
        self.files_expected = 0
        self.bytes_expected: int | None = 0
        """None as soon as the size of one item is not known."""
        self._finished_bytes = 0
        self._finished_totals = 0
        self._finished_files = 0

    def expect(self, files: int, size: int | None) -> None:
        """Say what the whole job is, as far as it is known."""
        self.files_expected = files
        self.bytes_expected = size

    @property
    def done(self) -> int:
        """Bytes done of the whole job."""
        return self._finished_bytes + sum(item.done for item in self.active)

    @property
    def total(self) -> int | None:
        """Bytes of the whole job, as soon as that can be told."""
        if self.bytes_expected is not None:
            return self.bytes_expected
        active = list(self.active)
        if len(active) + self._finished_files < self.files_expected or any(item.total is None for item in active):
            return None
        return self._finished_totals + sum(item.total or 0 for item in active)

    @property
    def files_done(self) -> int:
        """Items that are over, done or failed."""
        return self._finished_files

    def start(self, item: Item) -> None:
        """See `Progress.start`."""
        self.active.append(item)

    def update(self, item: Item) -> None:
        """See `Progress.update`."""

    def stop(self, item: Item) -> None:
        """See `Progress.stop`."""
        # In this order: a display that looks from another thread must not see bytes vanish.
        self._finished_bytes += item.done
        self._finished_totals += item.total or 0
        self.active.remove(item)
        self._finished_files += item.counts

    def open(self) -> None:
        """Begin to show."""

    def close(self) -> None:
        """Show no more, leaving the terminal as it was."""
