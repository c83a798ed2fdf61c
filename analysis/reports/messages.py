"""
The sentences of trust checks and verdicts, in one place: they are part of the report, in whichever form it is read.

`render/messages.py` has those of the page around them.
"""

# Trust checks.
STRAYS = "there are exposures where none can be: {places}"
STRAYS_RESTING = "{variant} has weight 0"
STRAYS_UNDECLARED = "{n:,} {of} variants that are not declared"
RATIO_TOO_FEW = "{counts}: not enough units, or not enough variants, to check"
RATIO_MATCHES = "{counts}: the sample ratio matches the declared weights"
RATIO_MISMATCH = (
    "{counts}: sample ratio mismatch. {variant} has the fewest units for its weight: were exposures lost there?"
)
RATIO_MISMATCH_IN = "{counts}: the sample ratio matches overall, but not in {parts}. Did something break there?"
ONE_VARIANT_EACH = "no unit saw more than one variant"
SEVERAL_VARIANTS = "{n:,} {units} ({share:.2%}) saw more than one variant and {are} left out"
SEVERAL_VARIANTS_CAUSE = "{detail}: check for a changed salt, or visitor ids that are not kept"
NO_ORDERS = "no orders yet"
WITHOUT_VISITOR = "{n:,} of {total:,} orders ({share:.1%}) have no visitor"
WITHOUT_VISITOR_IN = "{detail}, most often where {variant} sold: does its checkout pass on the visitor id?"
WITHOUT_VISITOR_MOST = "{detail}: does the checkout receive the visitor id (cart attribute, hidden field)?"
PRE_PERIOD_TOO_FEW = "{n:,} {units} had bought before their exposure: not enough to compare"
PRE_PERIOD_SIMILAR = "{n:,} units had bought before, in similar shares of all variants"
PRE_PERIOD_DIFFERS = (
    "the units of {variant} differ from those of the control before their exposure: was the population chosen after the "
    "variant was known, or an id used again from an earlier test?"
)
NO_BOTS = "no exposure is marked as a bot"
BOTS = "{n:,} {exposures} ({share:.2%}) {are} marked as bots and left out"
BOTS_UNEVEN = "{detail}; they do not match the declared weights: does a variant attract or mark them?"
NO_COUNTED_ORDERS = "no counted orders yet"
COSTS_KNOWN = "the cost of {costed:,} of {orders:,} counted orders is known"
COSTS_ADVICE = "{detail}: add the cost of the products to the catalogue, or to the orders"
TOO_GOOD = (
    "{variant} certainly {change} {metric}: effects of this size are nearly always faults; "
    "is an event sent twice, or an order counted for one variant only?"
)
NOT_TOO_GOOD = "no effect on {metric} is too large to be believed"
NOVELTY_TOO_FEW = "not enough days, or not enough orders on them, to see whether a gain fades"
NOVELTY_FADES = "the gain of {variants} fades with the days since the first exposure: wait, or count later days only"
NO_NOVELTY = "no gain fades with the days since the first exposure"

# Verdicts.
CHECK_FAILED = "The check {check} failed: {detail}"
NOT_COMPUTED = "{metric} cannot be computed: {reason}."
DIFFERS = "{metric} of {variant} is {side} the control's, statistically significant on any day."
GUARDRAIL_KEPT = "{metric} has lost no more than its margin of {margin:g}%."
GUARDRAIL_LOST = "{variant} has lost more than its margin of {guardrails}."
NOT_SHIPPED_LOST = (
    "{metric} of {variant} is {side} the control's, but it has lost more than its margin of {guardrails}."
)
NOT_SHIPPED_AT_RISK = (
    "{metric} of {variant} is {side} the control's, but {guardrails} may have lost more than its margin."
)
NO_DIFFERENCE = "{metric} of every variant is within {effect:g}% of the control's."
NO_ANYTIME = "{metric} has no always-valid interval yet: {reason}."
UNDECIDED = "{metric}: not enough data yet. The always-valid intervals include both a gain and a loss, or an effect that matters."
PLAN_CHANGED = (
    "The plan, the primary metric or a guardrail was changed after the start: always-valid results hold for the first."
)
NO_EXPOSURES = "no exposures yet"
NO_LIFT = "no variant has a lift"
NO_VARIANT = "no variant takes part"
NOT_MENDED = "a trust check failed: more days would not change that"
NO_VARIATION = "the control has no variation to plan with yet"
NEITHER_HAS_ANY = "no unit of either variant has any"
COSTS_UNKNOWN = "the cost of {n:,} of {orders:,} orders is not known"
METRIC_MISSING = "the metric cannot be computed"
