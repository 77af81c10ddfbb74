"""From a draft to an immutable version; and what fills a draft: schema files, and proposals from
collections."""
