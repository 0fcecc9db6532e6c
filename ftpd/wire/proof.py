"""What is signed to log in with a key. Both sides put it together from what they see themselves."""

PURPOSE = b"ftpd log-in 1\n"
"""No other program signs anything that begins like this, and we nothing else."""

NONCE_SIZE = 32
"""Bytes that each side chooses anew for every log-in."""

_CERTIFICATE_SIZE = 32


def proof_of(user: str, client_nonce: bytes, server_nonce: bytes, certificate: bytes) -> bytes:
    """Give the bytes to be signed. All parts but the last have one size, so that they can be read in one way only.

    `certificate` is the SHA-256 of the server's certificate: whoever is in between has another one.
    """
    assert (len(client_nonce), len(server_nonce), len(certificate)) == (NONCE_SIZE, NONCE_SIZE, _CERTIFICATE_SIZE)
    return PURPOSE + client_nonce + server_nonce + certificate + user.encode()
