"""What an app shows: tables and columns, and how documents become rows."""
