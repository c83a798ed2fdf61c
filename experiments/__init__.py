"""What is tried and who gets what: declarations, audience, assignment. Pure: no database, no HTTP, no pandas."""

from experiments.assignment.draw import Assignment, Step, assign, explain
from experiments.declarations.loading import Configs, load
from experiments.declarations.model import Experiment, Product, Shop, Variant
from experiments.errors import (
    AnalysisError,
    CrossliftError,
    DeclarationError,
    Fault,
    RequestError,
    StoreBusy,
    StoreError,
)

__all__ = [
    "AnalysisError",
    "Assignment",
    "Configs",
    "CrossliftError",
    "DeclarationError",
    "Experiment",
    "Fault",
    "Product",
    "RequestError",
    "Shop",
    "Step",
    "StoreBusy",
    "StoreError",
    "Variant",
    "assign",
    "explain",
    "load",
]
