"""One six-arm experiment evaluated in this process, beside what other SDKs take for the same; and what declarations weigh."""

import contextlib
import io
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.declared import declare
from benchmarks.results import machine, table, write_section
from experiments import Experiment, assign

ARMS = ("none", "below", "sidebar", "after-add", "popup", "cart")
VISITORS = [f"{number:032x}" for number in range(20_000)]
CATEGORIES = ["grinders", "kettles", "brewers"]
RUNS = 7
Evaluate = Callable[[str], object]


def ours() -> Evaluate:
    """Return `assign`."""
    variants = {arm: {"weight": 1, "placement": "none"} for arm in ARMS}
    told = {"key": "placement", "title": "", "status": "running", "audience": {"category": {"in": CATEGORIES}}}
    experiment = Experiment.model_validate(told | {"variants": variants})
    context = {"category": "kettles"}
    return lambda visitor: assign(experiment, visitor, context).variant


_RULE: dict[str, Any] = {
    "key": "placement",
    "variations": list(ARMS),
    "weights": [1 / len(ARMS)] * len(ARMS),
    "hashVersion": 2,
    "condition": {"category": {"$in": CATEGORIES}},
}


def growthbook_feature() -> Evaluate:
    """Return an instance for each visitor, as growthbook's documentation has it, and a feature with an experiment rule."""
    from growthbook import GrowthBook

    features = {"placement": {"defaultValue": "none", "rules": [_RULE]}}

    def evaluate(visitor: str) -> object:
        return GrowthBook(attributes={"id": visitor, "category": "kettles"}, features=features).get_feature_value(
            "placement", "none"
        )

    return evaluate


def growthbook_kept() -> Evaluate:
    """Return one instance that is told of each visitor, and its inline experiment: the least that the SDK can do."""
    from growthbook import Experiment as Inline
    from growthbook import GrowthBook

    one, instance = Inline(**_RULE), GrowthBook(attributes={"id": ""})

    def evaluate(visitor: str) -> object:
        instance.set_attributes({"id": visitor, "category": "kettles"})
        return instance.run(one).value

    return evaluate


def optimizely() -> Evaluate:
    """Return Optimizely's client of a data file, deciding one flag."""
    from optimizely.optimizely import Optimizely

    share = 10_000 // len(ARMS)
    variations = [
        {"id": f"v{index}", "key": arm, "featureEnabled": True, "variables": []} for index, arm in enumerate(ARMS)
    ]
    ends = [share * (index + 1) for index in range(len(ARMS) - 1)] + [10_000]
    allocation = [{"entityId": f"v{index}", "endOfRange": end} for index, end in enumerate(ends)]
    condition = [
        "or",
        *({"type": "custom_attribute", "match": "exact", "name": "category", "value": one} for one in CATEGORIES),
    ]
    experiment: dict[str, Any] = {
        "id": "e",
        "key": "placement",
        "status": "Running",
        "layerId": "l",
        "forcedVariations": {},
    }
    experiment |= {"audienceIds": ["a"], "audienceConditions": ["or", "a"], "variations": variations}
    data: dict[str, Any] = {
        name: [] for name in ("groups", "events", "rollouts", "typedAudiences", "variables", "integrations")
    }
    data |= {
        "version": "4",
        "revision": "1",
        "projectId": "1",
        "accountId": "1",
        "anonymizeIP": True,
        "botFiltering": False,
    }
    data["attributes"] = [{"id": "c", "key": "category"}]
    data["audiences"] = [{"id": "a", "name": "a", "conditions": json.dumps(["and", condition])}]
    data["experiments"] = [experiment | {"trafficAllocation": allocation}]
    data["featureFlags"] = [{"id": "f", "key": "placement", "rolloutId": "", "experimentIds": ["e"], "variables": []}]
    client = Optimizely(json.dumps(data))
    attributes: Any = {"category": "kettles"}

    def evaluate(visitor: str) -> object:
        user: Any = client.create_user_context(visitor, attributes)
        return user.decide("placement", ["DISABLE_DECISION_EVENT"]).variation_key

    return evaluate


SDKS = {
    "crosslift, `assign`": ours,
    "growthbook, an instance for each visitor": growthbook_feature,
    "growthbook, one instance told of each visitor": growthbook_kept,
    "optimizely-sdk, `decide` without an event": optimizely,
}


def speeds() -> dict[str, float]:
    """Return evaluations a second, the median of runs in turn; each must give all six arms to about as many visitors."""
    evaluate = {name: make() for name, make in SDKS.items()}
    for name, one in evaluate.items():
        given = [one(visitor) for visitor in VISITORS]
        shares = {arm: given.count(arm) / len(given) for arm in ARMS}
        if not all(0.15 < share < 0.19 for share in shares.values()):
            raise RuntimeError(f"{name} gives {shares}")
    spent: dict[str, list[float]] = {name: [] for name in evaluate}
    for _ in range(RUNS):
        for name, one in evaluate.items():
            began = time.process_time()
            for visitor in VISITORS:
                one(visitor)
            spent[name].append(time.process_time() - began)
    return {name: len(VISITORS) / statistics.median(times) for name, times in spent.items()}


_WEIGH = """
import sys
from experiments import load
from server.assign.prepared import PreparedDeclarations
def rss():
    told = open("/proc/self/status").read()
    return int(told.split("VmRSS:")[1].split()[0]) / 1024
load(sys.argv[1])
before = rss()
configs = load(sys.argv[2])
loaded = rss()
prepared = PreparedDeclarations(configs, dict.fromkeys(configs.experiments, 1))
print(loaded - before, rss() - loaded)
"""


def weight() -> tuple[float, float]:
    """Return the MB that 1,000 declarations of three arms on average take when loaded, and when made ready to be served."""
    with tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as told:
        folder = Path(told)
        one, many = declare(folder / "one", 1), declare(folder / "many", 1001)
        done = subprocess.run(
            [sys.executable, "-c", _WEIGH, str(one), str(many)], capture_output=True, text=True, check=True
        )
    loaded, ready = map(float, done.stdout.split())
    return loaded, ready


def main(parts: Sequence[str]) -> None:
    """Measure, and write down."""
    logging.disable(logging.CRITICAL)
    if not parts or "speed" in parts:
        with contextlib.redirect_stdout(io.StringIO()):
            found = speeds()
        own = next(iter(found.values()))
        rows = [[name, f"{rate:,.0f}", f"{1e6 / rate:.1f}", f"{own / rate:.1f}"] for name, rate in found.items()]
        how = (
            f"Six arms of equal weight, an audience of three categories, {len(VISITORS):,} visitors; medians of {RUNS} runs in "
            "turn, in CPU seconds of this process. We hash once for each arm, so that a changed weight moves only who must move; "
            "the others hash once. `python -m benchmarks.in_process speed` repeats it."
        )
        told = table(("", "evaluations/s", "us each", "ours / it"), rows)
        about = machine("growthbook", "optimizely-sdk")
        write_section("in-process", f"## Assignments in process\n\n{about} {how}\n\n{told}")
    if not parts or "memory" in parts:
        loaded, ready = weight()
        rows = [["declarations, with file and lines", f"{loaded:.1f}"], ["made ready to be served", f"{ready:.1f}"]]
        write_section("in-process-memory", "## Memory of 1,000 experiments\n\n" + table(("", "MB"), rows))


if __name__ == "__main__":
    main(sys.argv[1:])
