"""What a source has to offer, checked piece by piece: one definition for `check_source`, `check --database` and admin."""
