"""The network side of RSP: SM-DP+, eIM, and the test PKI."""

import logging

# Who serves shows the log; in a run on a simulated rack nobody does.
logging.getLogger(__name__).addHandler(logging.NullHandler())
