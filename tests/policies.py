"""An appraisal policy that production accepts: the example of the documentation."""

from pathlib import Path

ROOT = Path(__file__).parent.parent


def example_policy(folder: Path) -> Path:
    """Write the example into a folder; return the file."""
    page = (ROOT / "docs" / "explanation" / "attestation.md").read_text()
    path = folder / "policy.toml"
    path.write_text(page.split("```toml\n")[1].split("```")[0])
    return path
