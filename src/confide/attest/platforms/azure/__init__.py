"""Azure's paravisor around SEV-SNP or TDX."""
