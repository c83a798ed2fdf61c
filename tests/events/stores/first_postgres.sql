CREATE TABLE exposures (
  experiment text COLLATE "C" NOT NULL, unit_id text COLLATE "C" NOT NULL, variant text COLLATE "C" NOT NULL,
  epoch bigint NOT NULL, exposed_at_ms bigint NOT NULL, attributes text COLLATE "C" NOT NULL, bot bigint NOT NULL,
  PRIMARY KEY (experiment, unit_id, variant));
CREATE TABLE interactions (
  event_id text COLLATE "C" PRIMARY KEY, kind text COLLATE "C" NOT NULL, experiment text COLLATE "C" NOT NULL,
  variant text COLLATE "C" NOT NULL, unit_id text COLLATE "C" NOT NULL, placement text COLLATE "C" NOT NULL,
  product_id text COLLATE "C" NOT NULL, quantity bigint NOT NULL, value_minor bigint NOT NULL,
  occurred_at_ms bigint NOT NULL);

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

CREATE TABLE crosslift_migrations (name text PRIMARY KEY);
INSERT INTO crosslift_migrations VALUES ('001_tables');
INSERT INTO exposures VALUES ('ab', 'anna', 'a', 1, 1777636800000, '{"device": "mobile"}', 0);
INSERT INTO interactions VALUES ('e1', 'click', 'ab', 'a', 'anna', '', '', 1, 0, 1777636800000);
INSERT INTO orders VALUES ('default', 'o1', 'anna', 'c1', NULL, 1777636800000, 1777636800000, 'USD', 2000, 100, 500, 200, 300, NULL, 2, 'api', 1, NULL, 300, '');
INSERT INTO order_lines VALUES ('default', 'o1', '1', 'p1', '', 2, 2000, 100, 300, NULL, NULL, NULL, NULL);
INSERT INTO refunds VALUES ('default', 'o1', 'r0', 1777636800000, 'USD', 100);
INSERT INTO aliases VALUES ('phone', 'anna', 1777636800000);
INSERT INTO identities VALUES ('c1', 'anna', NULL, 1777636800000);
INSERT INTO epochs VALUES ('ab', 1, 1777636800000, '{}');
INSERT INTO quarantine (received_at_ms, source, reason, payload, digest) VALUES (1777636800000, 'events', 'wrong', '{}', '8c721abee662281227303e44efcdb073');
INSERT INTO keys VALUES ('d', 'secret', 'sk_abc', 1777636800000, NULL);
INSERT INTO secrets VALUES ('signing', 's3cret');
