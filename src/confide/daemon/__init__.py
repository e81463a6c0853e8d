"""Run one server in the background of one machine: who runs, start, stop, nothing left over.

Knows processes, files and signals; knows nothing of proxies. The command line of the server
is a parameter, so that a test may run another one under the same rules.

`presence` is the PID file, `control` starts and stops (with `target`, one process, and `probe`, one
question), `programs` runs a program beside the server, `lifeline` ends with its parent.
"""

from confide.daemon.control import Launch, Running, Stopped, start, status, stop
from confide.daemon.presence import Found, Presence, look

__all__ = ["Found", "Launch", "Presence", "Running", "Stopped", "look", "start", "status", "stop"]
