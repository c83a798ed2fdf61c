"""One Study holds all that a report needs, and nothing in it leads back to the store."""

import pickle
from pathlib import Path

from analysis.queries.study import read_study
from analysis.reports.compute import compute
from events import Exposure
from experiments import load
from tests.analysis.conftest import AT, DAY, MARGIN, NOW, World, fill
from tests.conftest import WriteConfigs

# Everything that queries call a column of their own, and what else a merchant's attribute may be called.
TAKEN = ["orders", "net", "variant", "day", "epoch", "unit_id", "n", "s0", "before", "Device", "device", "x" * 64]


def test_a_report_needs_the_study_alone(world: World) -> None:
    """Copied by value into bytes and back, while the store is gone, it gives the same report."""
    fill(world, {"control": 100, "offer": 130}, 1000)
    loaded = load(world.configs)
    study = read_study(world.store.url, loaded, loaded.experiment("ab"), NOW)
    expected = world.report().to_dict()
    copy = pickle.loads(pickle.dumps(study))  # noqa: S301  our own bytes
    for path in Path(world.store.url.removeprefix("sqlite:///")).parent.glob("*.db*"):
        path.unlink()
    assert compute(copy).to_dict() == expected


def test_a_segment_may_be_called_like_a_column(world: World, write_configs: WriteConfigs) -> None:
    """Each attribute makes its own segments, with the units and orders of its values."""
    for name in TAKEN:
        declared = MARGIN.replace("metrics: {", f"metrics: {{segments: [{name}], ")
        world.configs = write_configs(ab=declared)
        units = [
            Exposure(
                experiment="ab", unit_id=f"{name[:9]}{number}", variant=["control", "offer"][number % 2],
                exposed_at_ms=AT, attributes={name: ["a", "b"][number // 2 % 2]},
            )
            for number in range(40)
        ]  # fmt: skip
        world.store.write(units)
        for number in range(0, 40, 4):
            world.order(f"{name[:9]}{number}", 1000, AT + DAY)
        segments = world.report().segments
        assert segments is not None
        breakdown = segments[name].breakdown
        assert breakdown.values["a"].units == {"control": 10, "offer": 10}
        assert breakdown.values["a"].value == {"control": 10.0, "offer": 0.0}
        assert breakdown.values["b"].value == {"control": 0.0, "offer": 0.0}
