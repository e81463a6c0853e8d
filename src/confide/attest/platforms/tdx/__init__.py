"""Intel TDX: quotes of versions 4 and 5, Intel's collateral, event logs.

`quote` reads; `signature` checks a quote with nothing but Intel's root; `collateral` and
`tcb` say what Intel thinks of the platform; `eventlog` replays a log against the runtime
registers; `verifier` joins them. `requirements` says what a policy may demand.
"""
