"""Every bound of the protocol, with its reason."""

KIB = 1024
MIB = 1024 * KIB

LENGTH_SIZE = 4
"""Bytes of the length that starts a frame: a little-endian signed 32-bit integer."""

MAX_HEADER = 64 * KIB
"""Largest header. A page of a listing fits; a flood of headers costs the receiver little."""

MAX_STRANGERS_HEADER = 4 * KIB
"""Largest header of somebody who has to log in and has not: a request to do so fits."""

MAX_DEPTH = 8
"""Deepest nesting of a header. Ours use 3; deeper ones only serve to exhaust a parser's stack."""

MAX_INTEGER = 2**53 - 1
"""Largest integer: what every JSON implementation holds exactly (RFC 8259 section 6)."""

MAX_COMPONENT = 255
"""Longest part of a path in bytes of UTF-8: NAME_MAX of the common file systems."""

MAX_PATH = 4095
"""Longest path in bytes of UTF-8: Linux PATH_MAX less its NUL."""

MAX_ID = 64
"""Longest request id in characters; it is only echoed."""

DIGEST_SIZE = 32
"""Bytes of a BLAKE3-256 digest."""

MIN_CHUNK = 8 * MIB
"""Smallest chunk: long enough that the work per chunk does not show in the speed."""

MAX_CHUNKS = 8192
"""Most chunks of a file whose size is known, so that its leaf digests fit in 256 KiB."""

STREAM_CHUNK = 8 * MIB
"""Chunk of an upload of unknown size: its sender has to hold one in memory to announce its digest."""

MAX_STREAM_CHUNKS = 65_536
"""Most chunks of an upload of unknown size (512 GiB), so that its leaf digests fit in 2 MiB."""

MAX_UPLOADS = 16
"""Open chunked uploads of one connection. Each holds a file descriptor of the server."""

PAGE_ENTRIES = 512
"""Most entries in one page of a listing; fewer when their names are long."""

MAX_CHECKED = 512
"""Names in one `check` or `same`: each costs the server a look at its disk."""

MAX_SHARES = 100
"""Shares of one user. They stand in the file of users, which is read again whenever it has changed."""

MAX_SHARE_S = 366 * 24 * 3600
"""Longest time in seconds that a share is valid."""

MAX_SHARE_COUNT = 100
"""Most log-ins that a share may be limited to; each leaves a mark in the file of users."""

MAX_LABEL = 100
"""Longest label of a share in characters."""

CHUNKS_IN_FLIGHT = 4
"""Chunks a client sends ahead of their confirmations: keeps a long path busy, bounds what a break costs."""

SMALL_FILE = 64 * KIB
"""Up to this size files are handled whole, in memory, and dozens at a time."""

SMALL_PUT = MIN_CHUNK
"""Up to this size a client sends a file as one `put` with its digest, above as chunks."""
