// The schema of the app shop, exported by Zero Sources for Django. Do not edit; export again.

import {
  boolean,
  createBuilder,
  createSchema,
  json,
  number,
  relationships,
  string,
  table,
  type Row,
} from "@rocicorp/zero";

const orderItemsTable = table("order-items")
  .from("order_items")
  .columns({
    _id: string(),
    class: string().from("class-name"),
    price: number().optional(),
    is_paid: boolean(),
    tags: json(),
    "meta-data": json().optional().from("meta"),
    customer: string().optional(),
  })
  .primaryKey("_id");

const customerTable = table("customer")
  .columns({
    _id: string(),
    referrer: string().optional(),
  })
  .primaryKey("_id");

const labelTable = table("label")
  .columns({
    _id: string(),
  })
  .primaryKey("_id");

const customerLabelTable = table("customer_label")
  .columns({
    _id: string(),
    customer: string(),
    label: string(),
  })
  .primaryKey("_id");

const orderItemsTableRelationships = relationships(orderItemsTable, ({ one }) => ({
  buyer: one(
    { sourceField: ["customer"], destField: ["_id"], destSchema: customerTable },
  ),
}));

const customerTableRelationships = relationships(customerTable, ({ many, one }) => ({
  orders: many(
    { sourceField: ["_id"], destField: ["customer"], destSchema: orderItemsTable },
  ),
  labels: many(
    { sourceField: ["_id"], destField: ["customer"], destSchema: customerLabelTable },
    { sourceField: ["label"], destField: ["_id"], destSchema: labelTable },
  ),
  "referred-by": one(
    { sourceField: ["referrer"], destField: ["_id"], destSchema: customerTable },
  ),
}));

const labelTableRelationships = relationships(labelTable, () => ({}));

export const schema = createSchema({
  tables: [orderItemsTable, customerTable, labelTable, customerLabelTable],
  relationships: [orderItemsTableRelationships, customerTableRelationships, labelTableRelationships],
  // Clients may define queries themselves; the permissions of the app decide which rows they see.
  enableLegacyQueries: true,
});

export type Schema = typeof schema;

// The type of a row of each table, as queries return it.
export type OrderItemsRow = Row<Schema["tables"]["order-items"]>;
export type CustomerRow = Row<Schema["tables"]["customer"]>;
export type LabelRow = Row<Schema["tables"]["label"]>;
export type CustomerLabelRow = Row<Schema["tables"]["customer_label"]>;

export const zql = createBuilder(schema);
