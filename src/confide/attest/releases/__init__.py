"""Signed releases: who may say what an accepted workload looks like, and what they say.

`dsse` is the envelope, `keys` the signers and how one set of them hands over to the next,
`manifest` what a release says, `history` what this machine has seen of it already.
"""
