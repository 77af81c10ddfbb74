"""Draft → immutable version, and what fills a draft: schema files and what a collection looks like."""
