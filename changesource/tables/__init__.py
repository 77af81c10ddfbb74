"""What an app shows: tables, columns and relationships, and how documents become rows."""
