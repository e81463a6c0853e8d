"""Azure's paravisor around SEV-SNP or TDX: it speaks for the guest."""
