"""Small files that the server has already: they are asked about, many at a time, before they are sent.

That pays where a folder is sent again, and would only cost where it is new. So the first question is whether it is
there at all; and of a part of it that turns out not to be there no more is asked.
"""

from collections.abc import Sequence
from typing import NamedTuple

from ftpc.errors import RefusedError
from ftpc.transfer.loader import Sent
from ftpc.transfer.pages import pages
from ftpc.transfer.twins import FILE_BYTES, twins_in
from ftpd.wire.messages import encode_request
from ftpd.wire.replies import Reply, Status, Twins
from ftpd.wire.requests import Same, Stat
from ftpd.wire.terms import EntryType, IfExists


class Probe(NamedTuple):
    """The question whether a folder is there."""

    frame: bytes
    kind: type[Status] = Status


class Question(NamedTuple):
    """The question which files are there. They are not sent before it is answered."""

    files: list[Sent]
    frame: bytes
    was_sent: bool = False
    """Whether they were sent all the same, over a connection that was lost since."""
    kind: type[Twins] = Twins


class Repeat:
    """What is known of what the server has of a folder."""

    def __init__(self, remote: str, if_exists: IfExists, *, preserve: bool) -> None:
        """Know nothing yet; with `preserve` time and mode have to be the same as well."""
        self._preserve = preserve
        self._pays = if_exists in {IfExists.OVERWRITE, IfExists.SKIP}  # the others are about the name alone
        self._absent: list[str] = []
        """Folders that are not there, of those that the last file asked about was in."""
        self.probe = Probe(encode_request(Stat(filename=remote))) if self._pays and remote else None
        """What is to be asked first."""
        self.is_heard = self.probe is None
        """Whether that has been answered, if it had to be asked."""

    def hear(self, reply: Reply | RefusedError) -> None:
        """Take note of the answer to the first question."""
        self.is_heard = True
        self._pays = isinstance(reply, Status) and reply.type is EntryType.DIRECTORY

    def part(self, files: list[Sent]) -> tuple[list[Question], list[Sent]]:
        """Give the questions that are to be asked before files are sent, and the files that need none."""
        if not self._pays or not self.is_heard:
            return [], files
        asked: list[Sent] = []
        new: list[Sent] = []
        for file in files:
            (new if self._absent and self._is_absent(file) else asked).append(file)
        return self.ask(asked), new

    def ask(self, files: list[Sent], *, was_sent: bool = False) -> list[Question]:
        """Give the questions whether files are there."""
        cut = pages(files, lambda file: file.local.remote, FILE_BYTES)
        return [Question(page, encode_request(self._request(page)), was_sent) for page in cut]

    def judge(self, question: Question, reply: Reply | RefusedError) -> tuple[list[Sent], list[Sent]]:
        """Give the files that are there, and those that have to be sent.

        Raises:
            DamagedError: the server means other files than those that it was asked about.
        """
        files = question.files
        if not isinstance(reply, Twins):  # it is too old, or this is nobody it would tell
            self._pays = False
            return [], files
        if reply.no_folder:
            folders = {_folder_of(file) for file in files} | set(self._absent)
            self._absent = [folder for folder in folders if f"{_folder_of(files[-1])}/".startswith(f"{folder}/")]
        same = twins_in([(file.local.remote, file.root or "") for file in files], reply)
        there = [file for index, file in enumerate(files) if index in same]
        return there, [file for index, file in enumerate(files) if index not in same]

    def _request(self, files: Sequence[Sent]) -> Same:
        puts = [(file.put, file.root) for file in files if file.put is not None and file.root is not None]
        return Same(
            files=[(put.filename, put.filesize, root) for put, root in puts],
            details=[(put.mtime or 0, put.mtime_ns, put.mode or 0) for put, _ in puts] if self._preserve else None,
        )

    def _is_absent(self, file: Sent) -> bool:
        return any(file.local.remote.startswith(f"{folder}/") for folder in self._absent)


def _folder_of(file: Sent) -> str:
    return file.local.remote.rpartition("/")[0]
