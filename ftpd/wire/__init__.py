"""The wire format, shared by both sides and pure: no sockets, files, clocks or asyncio.

A stranger's description of every byte is in `docs/protocol.md`.
"""
