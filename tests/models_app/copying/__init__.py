"""Copies between two nodes that live in one process: two caches, one database."""
