"""Backup and restore: everything that MAGI's database knows, in one archive; never models."""
