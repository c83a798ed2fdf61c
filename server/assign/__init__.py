"""Assignments out."""
