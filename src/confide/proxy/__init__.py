"""The local proxy: OpenAI's and Anthropic's API here, everything sealed before it leaves.

`confide.apps.proxy` builds it from settings; nothing here reads a setting or a file.
"""

from __future__ import annotations

from confide.proxy.app import build_app
from confide.proxy.local_guard import LocalGuard
from confide.proxy.ports import holder_of

__all__ = ["LocalGuard", "build_app", "holder_of"]
