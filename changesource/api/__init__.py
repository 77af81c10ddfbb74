"""HTTP endpoints: health, the schemas of apps as files, and running snapshots."""
