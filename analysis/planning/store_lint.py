"""The warnings that need the store's history: too little traffic for the plan, and a salt that changed under visitors."""

from collections.abc import Iterator

from analysis.planning.plan import advice, needs, stored_baseline
from analysis.queries.source import Source, open_source
from events.clock import now_ms
from experiments.declarations.lint import Lint, at
from experiments.declarations.loading import Configs
from experiments.declarations.model import Experiment


def lint_with_store(configs: Configs, store: str) -> list[Lint]:
    """
    Hold declarations against what the store knows.

    Raises:
        StoreError: There is no store at the URL.
    """
    found: list[Lint] = []
    with open_source(store, configs.shop) as source:
        for experiment in configs.experiments.values():
            if experiment.status == "running":
                found += _changed_salt(configs, experiment, source)
                found += _too_little_traffic(configs, experiment, source)
    return found


def _changed_salt(configs: Configs, experiment: Experiment, source: Source) -> Iterator[Lint]:
    epochs = source.epochs(experiment.key, now_ms())
    before = epochs[-1].declared.get("salt") if epochs else experiment.salt
    if (before or experiment.key) != (experiment.salt or experiment.key):
        what = f"{experiment.salt or 'no salt'}, where {before or 'none'} ran"
        why = "Every visitor is dealt anew: who saw one variant sees another, and both are left out."
        instead = "Keep the salt, or end this experiment and declare another."
        yield at(configs, experiment, ("salt",), "changed-salt", what, why, instead)


def _too_little_traffic(configs: Configs, experiment: Experiment, source: Source) -> Iterator[Lint]:
    baseline = stored_baseline(source, experiment, now_ms())
    for sentence in advice(experiment, needs(experiment, baseline)) if baseline else []:
        why = "It would run past seasons and cookies, and most likely end without an answer."
        instead = "Plan a larger effect or fewer arms; `crosslift plan` shows what can be seen."
        yield at(configs, experiment, ("plan",), "too-little-traffic", sentence, why, instead)
