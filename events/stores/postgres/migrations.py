"""
The history of PostgreSQL's tables, as numbered migrations; none is ever changed.

The columns are those of SQLite, and text is compared by its bytes, as there.
"""

_EXPOSURES_AND_INTERACTIONS = """
CREATE TABLE exposures (
  experiment text COLLATE "C" NOT NULL, unit_id text COLLATE "C" NOT NULL, variant text COLLATE "C" NOT NULL,
  epoch bigint NOT NULL, exposed_at_ms bigint NOT NULL, attributes text COLLATE "C" NOT NULL, bot bigint NOT NULL,
  PRIMARY KEY (experiment, unit_id, variant));
CREATE TABLE interactions (
  event_id text COLLATE "C" PRIMARY KEY, kind text COLLATE "C" NOT NULL, experiment text COLLATE "C" NOT NULL,
  variant text COLLATE "C" NOT NULL, unit_id text COLLATE "C" NOT NULL, placement text COLLATE "C" NOT NULL,
  product_id text COLLATE "C" NOT NULL, quantity bigint NOT NULL, value_minor bigint NOT NULL,
  occurred_at_ms bigint NOT NULL);
"""

_ORDERS = """
CREATE TABLE orders (
  shop text COLLATE "C" NOT NULL, order_id text COLLATE "C" NOT NULL, unit_id text COLLATE "C",
  customer_id text COLLATE "C", company_id text COLLATE "C", ordered_at_ms bigint NOT NULL, updated_at_ms bigint NOT NULL,
  currency text COLLATE "C" NOT NULL, gross_minor bigint NOT NULL, discount_minor bigint NOT NULL,
  shipping_minor bigint NOT NULL, tax_minor bigint NOT NULL, refunded_minor bigint NOT NULL, cost_minor bigint,
  units bigint NOT NULL, source text COLLATE "C" NOT NULL, verified bigint NOT NULL, excluded text COLLATE "C",
  stated_refunded_minor bigint NOT NULL, digest text COLLATE "C" NOT NULL,
  PRIMARY KEY (shop, order_id));
CREATE INDEX orders_by_unit ON orders (unit_id, ordered_at_ms);
CREATE TABLE order_lines (
  shop text COLLATE "C" NOT NULL, order_id text COLLATE "C" NOT NULL, line_id text COLLATE "C" NOT NULL,
  product_id text COLLATE "C" NOT NULL, sku text COLLATE "C" NOT NULL, quantity bigint NOT NULL, gross_minor bigint NOT NULL,
  discount_minor bigint NOT NULL, refunded_minor bigint NOT NULL, cost_minor bigint, offer_experiment text COLLATE "C",
  offer_variant text COLLATE "C", bundle_id text COLLATE "C",
  PRIMARY KEY (shop, order_id, line_id));
CREATE TABLE refunds (
  shop text COLLATE "C" NOT NULL, order_id text COLLATE "C" NOT NULL, refund_id text COLLATE "C" NOT NULL,
  refunded_at_ms bigint NOT NULL, currency text COLLATE "C" NOT NULL, refunded_minor bigint NOT NULL,
  PRIMARY KEY (shop, order_id, refund_id));
"""

_CATALOGUE = """
CREATE TABLE aliases (visitor_id text COLLATE "C" PRIMARY KEY, unit_id text COLLATE "C" NOT NULL, linked_at_ms bigint NOT NULL);
CREATE TABLE identities (
  customer_id text COLLATE "C" PRIMARY KEY, unit_id text COLLATE "C" NOT NULL, company_id text COLLATE "C",
  linked_at_ms bigint NOT NULL);
CREATE TABLE epochs (
  experiment text COLLATE "C" NOT NULL, epoch bigint NOT NULL, declared_at_ms bigint NOT NULL, declaration text NOT NULL,
  PRIMARY KEY (experiment, epoch));
CREATE TABLE quarantine (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, received_at_ms bigint NOT NULL, source text COLLATE "C" NOT NULL,
  reason text NOT NULL, payload text NOT NULL, digest text COLLATE "C" NOT NULL UNIQUE);
CREATE TABLE keys (
  digest text COLLATE "C" PRIMARY KEY, kind text COLLATE "C" NOT NULL, hint text COLLATE "C" NOT NULL,
  created_at_ms bigint NOT NULL, revoked_at_ms bigint);
CREATE TABLE secrets (name text COLLATE "C" PRIMARY KEY, value text NOT NULL);
CREATE TABLE lakes (path text COLLATE "C" PRIMARY KEY);
CREATE FUNCTION content_hash(VARIADIC parts text[]) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
  AS $$ SELECT abs(hashtextextended(array_to_string(parts, chr(31), chr(30)), 0) % 4294967296) $$;
"""

_PAID_REFUNDS = "ALTER TABLE refunds ADD COLUMN paid_minor bigint, ADD COLUMN discrepancy_minor bigint"

_KEPT_TALLIES = """
CREATE TABLE kept_tallies (
  experiment text COLLATE "C" PRIMARY KEY, announced_at_ms bigint NOT NULL, until_ms bigint NOT NULL, content text NOT NULL);
CREATE TABLE late_exposures (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, experiment text COLLATE "C" NOT NULL, unit_id text COLLATE "C" NOT NULL,
  variant text COLLATE "C" NOT NULL, epoch bigint NOT NULL, exposed_at_ms bigint NOT NULL, attributes text COLLATE "C" NOT NULL,
  bot bigint NOT NULL, sign bigint NOT NULL);
CREATE INDEX exposures_by_time ON exposures USING brin (exposed_at_ms);
CREATE FUNCTION log_late_exposure() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP <> 'INSERT' AND EXISTS (SELECT 1 FROM kept_tallies WHERE experiment = OLD.experiment) THEN
    INSERT INTO late_exposures (experiment, unit_id, variant, epoch, exposed_at_ms, attributes, bot, sign)
      VALUES (OLD.experiment, OLD.unit_id, OLD.variant, OLD.epoch, OLD.exposed_at_ms, OLD.attributes, OLD.bot, -1);
  END IF;
  IF TG_OP <> 'DELETE' AND EXISTS (SELECT 1 FROM kept_tallies WHERE experiment = NEW.experiment) THEN
    INSERT INTO late_exposures (experiment, unit_id, variant, epoch, exposed_at_ms, attributes, bot, sign)
      VALUES (NEW.experiment, NEW.unit_id, NEW.variant, NEW.epoch, NEW.exposed_at_ms, NEW.attributes, NEW.bot, 1);
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER late_insert AFTER INSERT ON exposures FOR EACH ROW
  WHEN (NEW.exposed_at_ms < (extract(epoch FROM clock_timestamp()) - 86400) * 1000) EXECUTE FUNCTION log_late_exposure();
CREATE TRIGGER late_change AFTER UPDATE OR DELETE ON exposures FOR EACH ROW EXECUTE FUNCTION log_late_exposure();
"""

MIGRATIONS = {
    "001_tables": _EXPOSURES_AND_INTERACTIONS + _ORDERS + _CATALOGUE,
    "004_paid_refunds": _PAID_REFUNDS,
    "005_kept_tallies": _KEPT_TALLIES,
}
