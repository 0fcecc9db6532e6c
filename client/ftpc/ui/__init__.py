"""What a person sees of a transfer: bars on a terminal, plain lines elsewhere, events for programs."""
