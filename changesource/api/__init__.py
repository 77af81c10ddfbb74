"""HTTP endpoints: health today."""
