"""Assignments out: which variant a visitor gets."""
