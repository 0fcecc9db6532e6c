"""Small files, dozens at a time: most of the work is done once for all of them."""

import asyncio
import time
from collections.abc import Sequence

from ftpd.commands.get import Answered, get_all
from ftpd.commands.put import put_all
from ftpd.conversation import Conversation
from ftpd.payload.buffers import buffers
from ftpd.payload.workers import is_cancelled
from ftpd.reports import report_all
from ftpd.wire.digests import Buffer
from ftpd.wire.errors import FtpdError
from ftpd.wire.frames import Header
from ftpd.wire.limits import KIB
from ftpd.wire.messages import encode_refusal, encode_reply
from ftpd.wire.replies import Reply

MOST_PUTS = 64
"""Files that are stored together at most: none is to wait for long, and each is open meanwhile."""

MOST_GETS = 64
"""Files that are read together at most, likewise."""

GET_BYTES = 256 * KIB
"""How much of them is read at a time for one client, which may not read."""

COPIES = 2
"""How often that is in memory until it is sent: as files, and as one piece."""


async def store_run(puts: Sequence[tuple[Header, Buffer]], conversation: Conversation, started: float) -> None:
    """Store files that have arrived whole, and answer each.

    Raises:
        ConnectionError: nobody reads the answers.
        asyncio.CancelledError: also when they are stored; then the answers are held back, for the farewell.
    """
    replies, peer = conversation.replies, conversation.peer
    try:
        answers = await put_all(puts, conversation)
    except (OSError, asyncio.CancelledError):
        report_all(((lost, None, "lost") for lost, _ in puts), peer, started)
        raise
    ended = [(put[0], answer.transfer, _outcome(answer.reply)) for put, answer in zip(puts, answers, strict=True)]
    report_all(ended, peer, started)
    for (request, _), (request_id, reply, _) in zip(puts, answers, strict=True):
        replies.is_classic = replies.is_classic and request.get("id") is None
        if isinstance(reply, FtpdError):
            replies.hold(encode_refusal(reply.code, reply.message, reply.facts, request_id))
        else:
            replies.hold(encode_reply(reply, request_id))
    if is_cancelled():
        raise asyncio.CancelledError
    await replies.release_some()


async def send_run(gets: Sequence[Header], conversation: Conversation) -> tuple[int, Header | None]:
    """Answer the first of several requests for files in one piece; give how many that were.

    The last of them is given back if it is not for a small file, and so has no answer yet.

    Raises:
        ConnectionError: nobody reads the answers.
    """
    started = time.monotonic()
    conversation.transfer = None
    conversation.replies.is_classic = False
    try:
        with buffers.promised(COPIES * GET_BYTES) as room:
            # No more of them are looked at than may be answered: of tiny files some are left for the next time.
            answers = await get_all(gets[: max(1, room // COPIES // KIB)], conversation, room // COPIES)
            frames = b"".join(part for answer in answers for part in _frames_of(answer))
            ended = [(get, answer.transfer, _outcome(answer.reply)) for get, answer in zip(gets, answers, strict=False)]
            size, large = sum(len(answer.data) for answer in answers), answers[-1].reply is None
            del answers
        with buffers.promised(len(frames)):  # what is waited for is in memory once
            await conversation.replies.release()
            writing = conversation.replies.write(frames)
            del frames
            await writing
        await conversation.pace.went(size, is_small=True)
    except (OSError, asyncio.CancelledError):
        report_all(((lost, None, "lost") for lost in gets), conversation.peer, started)
        raise
    report_all(ended[:-1] if large else ended, conversation.peer, started)
    return len(ended), ended[-1][0] if large else None


def _outcome(reply: Reply | FtpdError | None) -> str:
    return reply.code.value if isinstance(reply, FtpdError) else "ok"


def _frames_of(answer: Answered) -> Sequence[Buffer]:
    """Write down the answer to one get of several."""
    if answer.reply is None:
        return ()
    if isinstance(answer.reply, FtpdError):
        return (encode_refusal(answer.reply.code, answer.reply.message, answer.reply.facts, answer.request_id),)
    return encode_reply(answer.reply, answer.request_id), answer.leaves, answer.data
