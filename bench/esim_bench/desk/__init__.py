"""The desk: what works on the slots of a rack for a front that lives elsewhere, and what watches what others do there.

``api`` is what a front sees. The work is done in a process of its own (``service``), so that a screen never waits for
a card, a signature or a stuck driver; what is happening is read from the journals and the run history (``watch``),
where a run of another process looks like one of ours.
"""
