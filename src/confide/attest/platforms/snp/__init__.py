"""AMD SEV-SNP: report, certificates, chain. Judges nothing; `requirements` do."""
