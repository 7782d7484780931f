"""The ledger on SQLite (embedded) and on PostgreSQL (shared by many processes)."""
