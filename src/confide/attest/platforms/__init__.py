"""Platforms: what turns the bytes of one kind of processor into claims.

This version verifies no hardware platform yet; `confide.attest.platform` has the
interface they plug into.
"""
