"""The blind room: checks keys and limits, copies sealed bytes, keeps the books.

It cannot open what passes through: no module here may import `confide.crypto` or
`confide.sealing` (import contracts in pyproject.toml). What it learns is listed field by field in
docs/security/metadata.md.
"""

__all__: list[str] = []
