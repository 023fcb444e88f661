"""Python runs this first in the emulator: it switches Nagle's algorithm off in the Runtime API that functions poll.

The emulator's server writes an answer in two pieces; with the algorithm on, the second waits 40 ms for the client's
acknowledgement of the first, on every call of every function.
"""

import socketserver

socketserver.StreamRequestHandler.disable_nagle_algorithm = True
