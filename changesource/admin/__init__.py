"""Django admin: drafts, publishing, clients, replicas. No logic of its own."""
