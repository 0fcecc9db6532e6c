"""Questions to a server, the names they are about, and the addresses of servers."""

from pathlib import Path

import pytest

import ftpc
from ftpc import (
    AddressError,
    Algorithm,
    Client,
    ConnectError,
    EntryType,
    RefusedError,
    RemoteNameError,
    parse_address,
)
from tests.client.support import Service, connected, names_in

ABC_MD5 = "900150983cd24fb0d6963f7d28e17f72"
ABC = {
    Algorithm.MD5: ABC_MD5,
    Algorithm.SHA1: "a9993e364706816aba3e25717850c26c9cd0d89d",
    Algorithm.SHA256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    Algorithm.BLAKE3: "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
}


async def test_ls(service: Service, client: Client) -> None:
    """A listing has every name once, with size and time if asked for, and an empty folder has none."""
    (service.root / "sub").mkdir()
    for number in range(700):  # more than a page holds
        (service.root / f"{number:03} ü.txt").write_bytes(b"x" * number)
    short = {entry.name: entry async for entry in client.ls()}
    long = {entry.name: entry async for entry in client.ls("/", long=True)}
    expected = {"sub", *(f"{number:03} ü.txt" for number in range(700))}
    assert expected == set(short) == set(long)
    assert (EntryType.DIRECTORY, EntryType.FILE) == (short["sub"].type, short["001 ü.txt"].type)
    assert (None, 5) == (short["005 ü.txt"].size, long["005 ü.txt"].size)
    assert int((service.root / "005 ü.txt").stat().st_mtime) == long["005 ü.txt"].mtime
    assert [] == [entry async for entry in client.ls("sub")]


async def test_listing_that_is_left_early(service: Service, client: Client) -> None:
    """A listing that is not read to its end gives its connection back when it is closed."""
    for number in range(600):
        (service.root / str(number)).touch()
    for _ in range(10):
        listing = client.ls()
        await anext(listing)
        await listing.aclose()
    assert await client.ping() >= 0


async def test_stat(service: Service, client: Client, folder: Path) -> None:
    """A name is told with type, size, time and mode; the root digest where the server knows it."""
    (folder / "a").write_bytes(b"abc")
    root = (await client.put(folder / "a")).root
    found = await client.stat("a")
    assert (EntryType.FILE, 3, root) == (found.type, found.filesize, found.root)
    assert int((service.root / "a").stat().st_mtime) == found.mtime
    for name in ("", "/", "."):
        assert EntryType.DIRECTORY is (await client.stat(name)).type


async def test_digests(service: Service, client: Client) -> None:
    """The digests are those of the published test vectors."""
    (service.root / "a").write_bytes(b"abc")
    assert ABC_MD5 == await client.md5("a")
    assert ABC == {algorithm: await client.sum("a", algorithm) for algorithm in Algorithm}


async def test_hello_and_ping(client: Client) -> None:
    """A server says what it is, and a round trip takes some time."""
    greeting = await client.hello()
    assert (1, "none", False) == (greeting.version, greeting.durability.value, greeting.read_only)
    assert f"ftpd/{ftpc.__version__}" == greeting.server
    assert 0 < await client.ping() < 10


async def test_refusal(client: Client, folder: Path) -> None:
    """What is not there is a refusal with the server's code, for every question, and the client goes on."""
    for question in (client.stat("no"), client.md5("no"), client.sum("no"), client.get("no", folder / "x")):
        with pytest.raises(RefusedError, match="no: there is no such file") as caught:
            await question
        assert "not_found" == caught.value.code
    assert [] == names_in(folder)
    assert "<Client" in repr(client)
    assert "1 idle connections" in repr(client)


async def test_folder_of_the_address(service: Service, folder: Path) -> None:
    """Names are relative to the folder in the server's URL."""
    (folder / "a").write_bytes(b"abc")
    async with connected(f"ftpd://{service.address}/x/%C3%BC%20y/") as client:
        assert "x/ü y/sub/a" == (await client.put(folder / "a", "sub/a")).remote
        assert b"abc" == (service.root / "x/ü y/sub/a").read_bytes()
        assert ["sub"] == [entry.name async for entry in client.ls()]
        assert ABC_MD5 == await client.md5("sub/a")
        assert EntryType.DIRECTORY is (await client.stat("")).type
        await client.get("/sub/a", folder / "b")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a", "a"), ("/a", "a"), ("./a//b/./c/", "a/b/c"), ("-x", "-x"), ("...", "..."), (" ", " "), ("ü", "ü")],
)
async def test_name_is_tidied_up(client: Client, name: str, expected: str) -> None:
    """Names may be written as people write paths."""
    assert expected == client.remote_name(name)


@pytest.mark.parametrize(
    "name", ["", "/", ".", "..", "a/../b", "a\0b", "a\nb", "\x1b[2J", "x" * 256, "\udcff", ".ftpd/x", "a/" * 3000]
)
async def test_name_that_can_not_be(client: Client, name: str) -> None:
    """A name that no server can have is refused before anything is sent."""
    with pytest.raises(RemoteNameError):
        await client.md5(name)
    assert "0 idle" in repr(client)


async def test_stream_needs_a_name(client: Client) -> None:
    """A stream has no name of its own."""
    with pytest.raises(RemoteNameError, match="what it is to be called"):
        await client.put(0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("host", ("host", 9527, "")),
        ("host:1", ("host", 1, "")),
        ("[::1]", ("::1", 9527, "")),
        ("[::1]:65535", ("::1", 65535, "")),
        ("ftpd://host", ("host", 9527, "")),
        ("ftpd://[::1]:99/a%20b/c/", ("::1", 99, "a b/c")),
        ("FTPD://host:7/", ("host", 7, "")),
    ],
)
def test_address(text: str, expected: tuple[str, int, str]) -> None:
    """The address of a server is a host, a host with a port, or a URL."""
    assert expected == parse_address(text)[:3]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "HOST"),
        ("host:", "HOST"),
        ("host:0", "65535"),
        ("host:65536", "65535"),
        ("::1", "HOST"),
        ("host:port", "HOST"),
        ("user@host", "HOST"),
        ("ftp://host", "scheme"),
        ("ftpd://user:secret@host", "log in"),
        ("ftpd://host/?a", "%3F"),
        ("ftpds://host#sha256:1234", "64 hex digits"),
        ("ftpd://[::1", "URL"),
        ("ftpd://", "HOST"),
    ],
)
def test_address_that_can_not_be(text: str, word: str) -> None:
    """What is wrong with an address is said with what would be right, and never with a password."""
    with pytest.raises(AddressError) as caught:
        parse_address(text)
    assert word in caught.value.message
    assert "secret" not in caught.value.message


async def test_nobody_answers(service: Service, client: Client) -> None:
    """No server is a `ConnectError` that names the address."""
    await service.stop()
    await service.start()
    await client.ping()
    await service.stop()
    with pytest.raises(ConnectError, match=service.address):
        await client.ping()
    await service.start()


def test_everything_promised_is_there() -> None:
    """Each name in `__all__` can be had, and nothing else."""
    assert [] == [name for name in ftpc.__all__ if getattr(ftpc, name, None) is None]
    with pytest.raises(AttributeError):
        ftpc.bogus  # noqa: B018 (looking is what fails)
