"""From the change stream of MongoDB to the change log."""
