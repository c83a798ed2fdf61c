"""Warnings that need the store's history: too little traffic for the plan, and a salt that changed while running."""

from collections.abc import Iterator

from analysis.planning.plan import advice, needs, stored_baseline
from analysis.queries.source import Source, open_source
from events.clock import now_ms
from experiments.declarations.lint import Lint, at
from experiments.declarations.loading import Configs
from experiments.declarations.model import Experiment


def lint_with_store(configs: Configs, store: str) -> list[Lint]:
    """
    Check declarations against the history in a store.

    Raises:
        StoreError: There is no store at the URL.
    """
    warnings: list[Lint] = []
    with open_source(store, configs.shop) as source:
        for experiment in configs.experiments.values():
            if experiment.status == "running":
                warnings += _changed_salt(configs, experiment, source)
                warnings += _too_little_traffic(configs, experiment, source)
    return warnings


def _changed_salt(configs: Configs, experiment: Experiment, source: Source) -> Iterator[Lint]:
    epochs = source.epochs(experiment.key, now_ms())
    previous = epochs[-1].declared.get("salt") if epochs else experiment.salt
    if (previous or experiment.key) != (experiment.salt or experiment.key):
        what = f"the salt is {experiment.salt or 'not set'}, but visitors were assigned with {previous or 'none'}"
        why = "Every visitor is assigned again. Visitors who see a second variant are left out of the report."
        instead = "Keep the salt, or end this experiment and declare a new one."
        yield at(configs, experiment, ("salt",), "changed-salt", what, why, instead)


def _too_little_traffic(configs: Configs, experiment: Experiment, source: Source) -> Iterator[Lint]:
    baseline = stored_baseline(source, experiment, now_ms())
    for sentence in advice(experiment, needs(experiment, baseline)) if baseline else []:
        why = "Seasons and cookies change in that time, and the experiment most likely ends without an answer."
        instead = "Plan a larger effect or fewer variants; `crosslift plan` shows what can be detected."
        yield at(configs, experiment, ("plan",), "too-little-traffic", sentence, why, instead)
