"""ftpc: the client of ftpd, as a library.

    async with ftpc.connect("ftpd://host") as client:
        await client.put("big.mp4")

Names are imported when they are first used, so that the command line starts fast.
"""

from ftpd import __version__

TYPE_CHECKING = False  # as in `typing`, which takes longer than all else of a start
if TYPE_CHECKING:
    from ftpc.address import Address, parse_address
    from ftpc.client import Client, connect
    from ftpc.credentials import Credentials
    from ftpc.errors import (
        AddressError,
        ChangedError,
        ConnectError,
        ConnectionLostError,
        FtpcError,
        IntegrityError,
        InUseError,
        LocalFileError,
        LocalNotFoundError,
        ProtocolError,
        RefusedError,
        RemoteNameError,
        TrustError,
        UnknownServerError,
    )
    from ftpc.progress import Item, NoProgress, Phase, Progress
    from ftpc.results import GetResult, PutResult, TreeFile, TreeResult
    from ftpc.trust import KnownServers, Trust
    from ftpd.wire.replies import Entry, Greeting, Status
    from ftpd.wire.terms import Algorithm, EntryType, IfExists

__all__ = [
    "Address",
    "AddressError",
    "Algorithm",
    "ChangedError",
    "Client",
    "ConnectError",
    "ConnectionLostError",
    "Credentials",
    "Entry",
    "EntryType",
    "FtpcError",
    "GetResult",
    "Greeting",
    "IfExists",
    "InUseError",
    "IntegrityError",
    "Item",
    "KnownServers",
    "LocalFileError",
    "LocalNotFoundError",
    "NoProgress",
    "Phase",
    "Progress",
    "ProtocolError",
    "PutResult",
    "RefusedError",
    "RemoteNameError",
    "Status",
    "TreeFile",
    "TreeResult",
    "Trust",
    "TrustError",
    "UnknownServerError",
    "__version__",
    "connect",
    "parse_address",
]

_HOMES = {
    "ftpc.address": ("Address", "parse_address"),
    "ftpc.client": ("Client", "connect"),
    "ftpc.credentials": ("Credentials",),
    "ftpc.progress": ("Item", "NoProgress", "Phase", "Progress"),
    "ftpc.results": ("GetResult", "PutResult", "TreeFile", "TreeResult"),
    "ftpc.trust": ("KnownServers", "Trust"),
    "ftpd.wire.replies": ("Entry", "Greeting", "Status"),
    "ftpd.wire.terms": ("Algorithm", "EntryType", "IfExists"),
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((module for module, names in _HOMES.items() if name in names), "ftpc.errors")
    return getattr(import_module(home), name)
