"""HTTP endpoints: health, and the schemas of apps as files."""
