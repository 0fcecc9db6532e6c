"""Errors: one exception, stable codes."""

from ftpd.wire.errors import BadFrameError, BadRequestError, ErrorCode, FtpdError


def test_codes_are_stable() -> None:
    """Codes that a client may know are never renamed: adding one here is the only change allowed."""
    known = {
        "bad_frame", "bad_request", "unknown_command", "bad_path", "not_found", "exists", "is_directory",
        "not_directory", "not_regular", "symlink", "bad_range", "integrity", "changed", "unknown_upload", "incomplete",
        "bad_cursor", "no_space", "forbidden", "read_only", "busy", "timeout", "going_away", "unavailable", "io_error",
        "internal", "lease_lost", "unauthorized", "tls_required",
    }  # fmt: skip
    assert known == {code.value for code in ErrorCode}


def test_error_carries_code_sentence_and_facts() -> None:
    """An error has a code for programs, a sentence for people, and facts for both."""
    error = FtpdError(ErrorCode.NO_SPACE, "the disk is full", left=3)
    assert (error.code, error.message, error.facts) == (ErrorCode.NO_SPACE, "the disk is full", {"left": 3})
    assert str(error) == "the disk is full"


def test_shorthands_have_their_codes() -> None:
    """The two most frequent refusals have classes of their own, and take facts as well."""
    frame, request = BadFrameError("no frame", limit=1), BadRequestError("no request", key="a")
    assert (frame.code, frame.facts) == (ErrorCode.BAD_FRAME, {"limit": 1})
    assert (request.code, request.facts) == (ErrorCode.BAD_REQUEST, {"key": "a"})
