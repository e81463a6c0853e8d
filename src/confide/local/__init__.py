"""The whole stack on one machine, with evidence that proves nothing about hardware.

`confide up` and the tests use this package. It is the only code that may import the
simulated platform (an import contract says so), and production code may not import it.
Whoever calls something here gets software-simulated evidence: it shows that the parts
work together, never that a processor protects anything.
"""

from __future__ import annotations

from confide.local.canary import Canary
from confide.local.home import Home
from confide.local.simulated import simulated_verifier
from confide.local.stack import Stack, StackOptions

__all__ = ["Canary", "Home", "Stack", "StackOptions", "simulated_verifier"]
