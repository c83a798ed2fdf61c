"""What is tried and who gets what: declarations, audience, assignment. Pure: no database, no HTTP, no pandas."""

from experiments.assignment import Assignment, Step, assign, explain
from experiments.declaration import Experiment, Product, Shop, Variant
from experiments.errors import (
    AnalysisError,
    CrossliftError,
    DeclarationError,
    Fault,
    RequestError,
    StoreBusy,
    StoreError,
)
from experiments.loading import Configs, load

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
