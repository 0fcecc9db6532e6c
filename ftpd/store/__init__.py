"""What is kept: the contract (`base`), a local folder (`local`), memory (`memory`). Nothing here knows connections."""
