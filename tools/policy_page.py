"""The reference page of the policy file, from the tables that the program itself uses."""

from __future__ import annotations

from confide.attest.policy_defaults import NVIDIA_TABLE, SNP_TABLE, TDX_TABLE
from confide.attest.policy_keys import KEYS, Key

__all__ = ["policy_page"]

REQUIRED = frozenset(
    {"version", "name", "not_after", "workload", "min_tcb", "allow_status"}
    | {"min_tcb_evaluation_number", "count", "modes", "arch", "revocation", "golden"}
    | {"document_sha256", "pcrs"}
)
"""Keys without which their table is refused."""

INTRODUCTION = """
An appraisal policy is a TOML file of at most 1 MiB. `confide policy init` writes one,
`confide policy check` says in words what it demands, and `confide policy diff` what changed. The
SHA-256 of the file is in every result. Unknown keys, wildcards, empty lists, an expired file and a
file without a workload are refused. A table says that its platform may answer: a report of a
platform without a table and a workload is refused.
"""

NOTES = {
    "": """
Debuggable enclaves are refused in every profile, and every check is a fresh challenge. The profile
`lab` loosens nothing: it marks every result, in `confide verify` as LAB ONLY.

Each `[[workload]]` has `name`, `manifest_sha256` and one or both of `snp` and `tdx`:

```toml
[[workload]]
name = "confide-0.2.0"
manifest_sha256 = "<64 hex digits>"
snp = [{ product = "Genoa", vcpus = 16, measurement = "<96 hex digits>" }]
tdx = [{ mr_td = "<96>", rtmr0 = ["<96>", "<96>"], rtmr1 = "<96>", rtmr2 = "<96>", rtmr3 = "zero" }]
```

Any one workload must match completely. `vcpus` is for people. `rtmr0` lists alternatives, one per
machine shape. Only `rtmr3`, which nothing but the application extends, may be `"zero"`. With a
table `[azure]` a workload may list neither: there the launch measurement is Microsoft's, and the
table says what measures the workload.
""",
    "snp": """
`min_tcb` has one table per product, such as `[snp.min_tcb.Genoa]`, or per model, such as
`[snp.min_tcb."Genoa/0xa0"]`, with the lowest accepted version of every component. The floor holds
for the reported, the committed and the launch version. A product without a floor is refused.
""",
    "azure": """
Beside a table `[snp]` or `[tdx]`, which says what is demanded of the hardware's report inside.
One of `paravisor` and `paravisor_id_keys` must be there: whoever owns a genuine machine can run a
program that states any PCRs, and only what was launched tells it from Microsoft's.
""",
    "nvidia": "`golden` is written by `confide policy import-rim`.",
    "platforms": """
Genuine evidence does not prove that the machine stands in a locked room. These lists are for those
who know their machines.
""",
}

DEFAULTS = """
`confide policy init` writes the first two tables for the platforms of the workloads, and
`confide.attest.policy_defaults.default_policy` makes the same policy without a file.
`confide policy import-rim` adds the third one if there is none.
"""

HEADER = "| key | value | when left out | demands | change |\n| --- | --- | --- | --- | --- |\n"


def policy_page(note: str) -> str:
    """Write the page.

    Args:
        note: Comment that says where the page comes from.
    """
    parts = ["# The policy file", note, INTRODUCTION.strip()]
    groups: dict[str, list[str]] = {}
    for path, key in KEYS.items():
        group, _, name = path.partition(".")
        groups.setdefault(group if name else "", []).append(_row(name or path, key))
    for group, rows in groups.items():
        parts.append(f"## `[{group}]`" if group else "## At the top")
        if group in NOTES:
            parts.append(NOTES[group].strip())
        parts.append(HEADER + "\n".join(rows))
    parts += ["## Default tables", DEFAULTS.strip()]
    parts += [f"```toml\n{text.rstrip()}\n```" for text in (SNP_TABLE, TDX_TABLE, NVIDIA_TABLE)]
    return "\n\n".join(parts) + "\n"


def _row(name: str, key: Key) -> str:
    meaning = "refused" if name in REQUIRED else "nothing is demanded"
    if key.default is not None:
        listed = key.default if isinstance(key.default, list) else [key.default]
        shown = [str(one).lower() if isinstance(one, bool) else str(one) for one in listed]
        meaning = ", ".join(f"`{one}`" for one in shown)
    elif key.form.endswith("the only value"):
        meaning = "the same"
    elif name.startswith("paravisor"):
        meaning = "refused, unless the other is there"
    elif name == "service_td":
        meaning = "none is accepted"
    says = key.says.rstrip(":")
    return f"| `{name}` | {key.form} | {meaning} | {says} | {key.direction.value} |"
