"""Power by relays: HID boards, LCUS serial boards, and multiplexers that are driven by either or by commands."""
