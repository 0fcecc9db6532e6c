"""What every display does: it follows the items, and knows the total."""

from ftpc.progress import Item, Phase


class Display:
    """A `Progress` for a job of several items. This one shows nothing; the others build on it."""

    def __init__(self) -> None:
        self.active: list[Item] = []
        self.files_expected = 0
        self.bytes_expected: int | None = 0
        """Those of files. None as soon as the size of one is not known."""
        self._folders_expected = 0
        self._folders: list[Item] = []
        """Folders that have begun, also those that are over."""
        self._finished_bytes = 0
        self._finished_moved = 0
        self._finished_totals = 0
        self._finished_files = 0
        self._states: dict[int, tuple[bool, int]] = {}
        """Of each item, whether it waited when it was last looked at, and what had been there of it."""

    def expect(self, files: int, size: int | None, folders: int = 0) -> None:
        """Say what the whole job is, as far as it is known: some of the files may be folders, whose size is not."""
        self._folders_expected = folders
        self.files_expected = files
        self.bytes_expected = size

    @property
    def done(self) -> int:
        """Bytes done of the whole job."""
        return self._finished_bytes + sum(item.done for item in self.active)

    @property
    def moved(self) -> int:
        """Bytes that came over the line for the whole job, which says how fast that is."""
        return self._finished_moved + sum(item.moved for item in list(self.active))

    @property
    def total(self) -> int | None:
        """Bytes of the whole job, as soon as that can be told."""
        contents = [item.contents for item in list(self._folders) if item.contents is not None]
        if not all(one.is_whole for one in contents):
            return None
        in_folders = sum(one.size for one in contents)
        if self.bytes_expected is not None and len(contents) == self._folders_expected:
            return self.bytes_expected + in_folders
        files = [item.total for item in list(self.active) if _is_file(item)]
        if len(files) + self._finished_files + len(contents) < self.files_expected or None in files:
            return None
        return in_folders + self._finished_totals + sum(total or 0 for total in files)

    @property
    def files_done(self) -> int:
        """Files that are over, done or failed, and those in folders."""
        return self._finished_files + sum(item.contents.done for item in list(self._folders) if item.contents)

    @property
    def files_moved(self) -> int:
        """Those of them for which something was moved."""
        return self.files_done - sum(item.contents.skipped for item in list(self._folders) if item.contents)

    @property
    def files_text(self) -> str:
        """How many files there are, those in folders as far as they were looked through: `12`, `3,010+`."""
        files, is_whole = self.files_found
        return f"{files:,}{'' if is_whole else '+'}"

    @property
    def files(self) -> int:
        """How many files there are, those in folders as far as they were looked through."""
        return self.files_found[0]

    @property
    def files_found(self) -> tuple[int, bool]:
        """How many files there are, those in folders as far as they were looked through; and whether these are all."""
        contents = [item.contents for item in list(self._folders) if item.contents is not None]
        folders = max(self._folders_expected, len(contents))
        files = self.files_expected - folders + sum(one.files for one in contents)
        return files, len(contents) == folders and all(one.is_whole for one in contents)

    def begins_anew(self, item: Item) -> bool:
        """Tell whether how fast it was says nothing any more: after a break, and with the news of what was there."""
        state = (item.phase is Phase.WAITING, item.resumed)
        before = self._states.get(id(item), (False, 0))
        self._states[id(item)] = state
        return state != before

    @property
    def has_folders(self) -> bool:
        """Whether there are any."""
        return bool(self._folders)

    def start(self, item: Item) -> None:
        """See `Progress.start`."""
        self.active.append(item)
        if item.contents is not None:
            self._folders.append(item)

    def update(self, item: Item) -> None:
        """See `Progress.update`."""

    def stop(self, item: Item) -> None:
        """See `Progress.stop`."""
        # In this order: a display that looks from another thread must not see bytes vanish.
        self._finished_bytes += item.done
        self._finished_moved += item.moved
        self._finished_totals += (item.total or 0) * _is_file(item)
        self.active.remove(item)
        self._states.pop(id(item), None)  # whoever comes next may have the same
        self._finished_files += _is_file(item)

    def open(self) -> None:
        """Begin to show."""

    def close(self) -> None:
        """Show no more, leaving the terminal as it was."""


def _is_file(item: Item) -> bool:
    """Tell whether it is a file of the job: no folder, nothing that is in one, and not many."""
    return item.counts and item.contents is None
