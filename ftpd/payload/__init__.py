"""The payload path, shared by both sides: what moves bytes between a connection and files.

A download is an upload seen from the other side, so there is one receiver and one sender for server and client.
"""
