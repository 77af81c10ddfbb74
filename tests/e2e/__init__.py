"""The whole system, with the real zero-cache: what it replicates must be what MongoDB holds."""
