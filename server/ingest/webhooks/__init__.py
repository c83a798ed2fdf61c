"""Webhooks of shop platforms: signed orders and refunds, repeated and in any order."""
