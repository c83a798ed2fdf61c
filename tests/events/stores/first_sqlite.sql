BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'crosslift','001_tables','2026-11-22 02:29:54.160690+00:00');
CREATE TABLE "aliases" (
   "visitor_id" TEXT PRIMARY KEY NOT NULL,
   "unit_id" TEXT NOT NULL,
   "linked_at_ms" INTEGER NOT NULL
) STRICT;
INSERT INTO "aliases" VALUES('phone','anna',1777636800000);
CREATE TABLE "epochs" (
   "experiment" TEXT NOT NULL,
   "epoch" INTEGER NOT NULL,
   "declared_at_ms" INTEGER NOT NULL,
   "declaration" TEXT NOT NULL,
   PRIMARY KEY ("experiment", "epoch")
) STRICT;
INSERT INTO "epochs" VALUES('ab',1,1777636800000,'{"key": "ab"}');
CREATE TABLE "exposures" (
   "experiment" TEXT NOT NULL,
   "unit_id" TEXT NOT NULL,
   "variant" TEXT NOT NULL,
   "epoch" INTEGER NOT NULL,
   "exposed_at_ms" INTEGER NOT NULL,
   "attributes" TEXT NOT NULL,
   "bot" INTEGER NOT NULL,
   PRIMARY KEY ("experiment", "unit_id", "variant")
) STRICT;
INSERT INTO "exposures" VALUES('ab','anna','offer',1,1777636800000,'{"device": "mobile"}',0);
CREATE TABLE "interactions" (
   "event_id" TEXT PRIMARY KEY NOT NULL,
   "kind" TEXT NOT NULL,
   "experiment" TEXT NOT NULL,
   "variant" TEXT NOT NULL,
   "unit_id" TEXT NOT NULL,
   "placement" TEXT NOT NULL,
   "product_id" TEXT NOT NULL,
   "quantity" INTEGER NOT NULL,
   "value_minor" INTEGER NOT NULL,
   "occurred_at_ms" INTEGER NOT NULL
) STRICT;
INSERT INTO "interactions" VALUES('e1','click','ab','offer','anna','below_product','p1',1,990,1777636800000);
CREATE TABLE "keys" (
   "digest" TEXT PRIMARY KEY NOT NULL,
   "kind" TEXT NOT NULL,
   "hint" TEXT NOT NULL,
   "created_at_ms" INTEGER NOT NULL,
   "revoked_at_ms" INTEGER
) STRICT;
INSERT INTO "keys" VALUES('d','secret','sk_abc',1777636800000,NULL);
CREATE TABLE "order_lines" (
   "shop" TEXT NOT NULL,
   "order_id" TEXT NOT NULL,
   "line_id" TEXT NOT NULL,
   "product_id" TEXT NOT NULL,
   "sku" TEXT NOT NULL,
   "quantity" INTEGER NOT NULL,
   "gross_minor" INTEGER NOT NULL,
   "discount_minor" INTEGER NOT NULL,
   "refunded_minor" INTEGER NOT NULL,
   "cost_minor" INTEGER,
   "offer_experiment" TEXT,
   "offer_variant" TEXT,
   "bundle_id" TEXT,
   PRIMARY KEY ("shop", "order_id", "line_id")
) STRICT;
INSERT INTO "order_lines" VALUES('default','o1','1','p1','S1',2,2000,100,300,NULL,'ab','offer',NULL);
CREATE TABLE "orders" (
   "shop" TEXT NOT NULL,
   "order_id" TEXT NOT NULL,
   "unit_id" TEXT,
   "customer_id" TEXT,
   "company_id" TEXT,
   "ordered_at_ms" INTEGER NOT NULL,
   "updated_at_ms" INTEGER NOT NULL,
   "currency" TEXT NOT NULL,
   "gross_minor" INTEGER NOT NULL,
   "discount_minor" INTEGER NOT NULL,
   "shipping_minor" INTEGER NOT NULL,
   "tax_minor" INTEGER NOT NULL,
   "refunded_minor" INTEGER NOT NULL,
   "cost_minor" INTEGER,
   "units" INTEGER NOT NULL,
   "source" TEXT NOT NULL,
   "verified" INTEGER NOT NULL,
   "excluded" TEXT,
   PRIMARY KEY ("shop", "order_id")
) STRICT;
INSERT INTO "orders" VALUES('default','o1','anna','c1',NULL,1777636800000,1777636800000,'USD',2000,100,500,200,300,NULL,2,'api',1,NULL);
CREATE TABLE "quarantine" (
   "id" INTEGER PRIMARY KEY NOT NULL,
   "received_at_ms" INTEGER NOT NULL,
   "source" TEXT NOT NULL,
   "reason" TEXT NOT NULL,
   "payload" TEXT NOT NULL
) STRICT;
INSERT INTO "quarantine" VALUES(1,1777636800000,'events','wrong','{}');
INSERT INTO "quarantine" VALUES(2,1777636800000,'events','wrong','{}');
CREATE TABLE "secrets" (
   "name" TEXT PRIMARY KEY NOT NULL,
   "value" TEXT NOT NULL
) STRICT;
INSERT INTO "secrets" VALUES('signing','s3cret');
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE INDEX orders_by_unit ON orders (unit_id, ordered_at_ms);
COMMIT;
