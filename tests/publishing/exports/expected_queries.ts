 = createBuilder(schema);

// The arguments of queries, as clients send them.
export type CustomersByIdArgs = {
  readonly customer: string;
  readonly minPrice?: number | null;
  readonly limit?: number;
};
export type CustomersReferredByArgs = {
  readonly referrer?: string | null;
  readonly page?: { readonly size?: number };
};
export type CustomersSearchArgs = { readonly text: string };
export type CustomersOfKindArgs = { readonly kind: "open" | "closed" };
export type OrdersOfCustomerArgs = {
  readonly customer: string;
  readonly minPrice?: number | null;
  readonly limit?: number;
};
export type EverythingArgs = {
  readonly text: string;
  readonly number: number;
  readonly whole: number;
  readonly flag: boolean;
  readonly nothing: null;
  readonly kind: "open" | "closed";
  readonly level: 1 | "two" | true;
  readonly names: readonly string[];
  readonly mixed: readonly (number | string)[];
  readonly maybe: string | null;
  readonly page: { readonly size?: number };
  readonly free: ReadonlyJSONValue;
  readonly path?: string;
};
export type MisfitsValueArgs = { readonly number: number; readonly texts: readonly string[] };
export type MisfitsListArgs = { readonly number: number; readonly texts: readonly string[] };
export type MisfitsLimitArgs = { readonly number: number; readonly texts: readonly string[] };
export type MisfitsWholeArgs = { readonly number: number; readonly texts: readonly string[] };
export type WrittenByCustomerArgs = {
  readonly customer: string;
  readonly prices: readonly number[];
  readonly least?: number | null;
};

// What queries know of the user. Give it to Zero as `context`. The server decides by what it knows itself.
// `userID` is null for a visitor who has not logged in.
export type Context = {
  readonly userID: string | null;
  readonly claims: {
    readonly "min-price"?: ReadonlyJSONValue;
    readonly role?: ReadonlyJSONValue;
    readonly [claim: string]: ReadonlyJSONValue | undefined;
  };
};

// What the function of a query is given. A query that does not look at the context runs in clients with any context.
// eslint-disable-next-line @typescript-eslint/no-explicit-any
type Given<Args = undefined, C = any> = { args: Args; ctx: C };

// The argument of a query whose body is not known here. No value has this type, so tsc refuses to use such a query until the
// app has put its own in the place, which has to find the same rows as the function on the server:
//
//   import { queries as generated, type ToFill } from "./schema.ts";
//   export const queries = defineQueries(generated, { … } satisfies ToFill);
//
// With `satisfies ToFill`, tsc also refuses to leave one out, and arguments of another type.
type Unfilled<Name extends string> = string & { readonly [K in `The query ${Name} has no body`]: never };

const unfilled = <Name extends string>(name: Name) =>
  defineQuery((_: Given<Unfilled<Name>>): never => {
    throw new Error(`The query ${name} has no body. Fill it in with defineQueries.`);
  });

export const queries = defineQueriesWithType<Schema>()({
  customers: {
    all: defineQuery((_: Given) => zql.customer),
    withEverything: defineQuery((_: Given) =>
      zql.customer
        .where(({ exists, not, or }) =>
          or(exists("orders", (q) => q.where("price", ">", 1.5)), not(exists("labels"))),
        )
        .whereExists("labels", (q) => q.where("_id", "IN", ["a", "b"]).one() as never, { flip: true })
        .whereExists("referred-by")
        .related(
          "orders",
          (q) => q.where("is_paid", true).related("buyer").orderBy("price", "desc").limit(10),
        )
        .related("labels", (q) => q.where("_id", "!=", "x"))
        .orderBy("referrer", "asc")
        .orderBy("_id", "desc")
        .start({ referrer: null, _id: "c" }, { inclusive: true })
        .limit(50),
    ),
    byId: defineQuery(({ args }: Given<CustomersByIdArgs>) =>
      zql.customer.where("_id", args.customer).related("referred-by").one(),
    ),
    referredBy: defineQuery(({ args }: Given<CustomersReferredByArgs | undefined>) =>
      zql.customer.where("referrer", "IS", args?.referrer).limit((args?.page ?? { size: 5 }).size ?? 20),
    ),
    // customers.search has no body. Its function cannot be followed: What it builds for some values does not follow from what it builds for others.
    search: unfilled("customers.search"),
    // customers.ofKind has no body. Its function cannot be followed: What it builds for some values does not follow from what it builds for others.
    ofKind: unfilled("customers.ofKind"),
  },
  orders: {
    ofCustomer: defineQuery(({ args }: Given<OrdersOfCustomerArgs>) =>
      args.minPrice == null
        ? zql["order-items"].where("customer", args.customer).limit(args.limit ?? 100)
        : zql["order-items"].where("customer", args.customer).where("price", ">=", args.minPrice ?? undefined),
    ),
    mine: defineQuery(({ ctx }: Given<undefined, Context>) =>
      zql["order-items"]
        .where("customer", ctx.userID ?? undefined)
        .where(({ cmp, cmpLit, or }) =>
          or(
            cmp("price", ">", ctx.claims["min-price"] as number | undefined),
            cmpLit(ctx.claims.role as LiteralValue | undefined, "=", "admin"),
          ),
        ),
    ),
    untagged: defineQuery((_: Given) =>
      zql["order-items"]
        .where((): Condition => ({ type: "simple", op: "IS", left: { type: "column", name: "tags" }, right: { type: "literal", value: null } }),
        ),
    ),
    none: defineQuery((_: Given) => zql["order-items"].where(({ or }) => or())),
  },
  everything: defineQuery(({ args }: Given<EverythingArgs>) =>
    zql["order-items"]
      .where("class", args.text)
      .where("price", args.number)
      .where("is_paid", args.flag)
      .where("customer", "IN", args.names)
      .where("class", "NOT IN", args.mixed as readonly string[] | undefined)
      .where("class", args.maybe ?? undefined)
      .where("class", args.level as string | undefined)
      .where("class", "IN", [args.path ?? "a \"quoted\" default", "a"])
      .where(
        "price",
        (args.free as { readonly x?: ReadonlyJSONValue } | null | undefined)?.x as number | undefined,
      )
      .where(({ cmpLit }) => cmpLit(args.text, "IN", [args.maybe as never, "b"]))
      .start(
        { class: args.path ?? "a \"quoted\" default", price: args.number, customer: args.maybe as string },
      )
      .limit(args.page.size ?? 20),
  ),
  misfits: {
    // misfits.value has no body. Its function cannot be followed: args.number is never a string, which _id holds.
    value: unfilled("misfits.value"),
    // misfits.list has no body. Its function cannot be followed: args.texts is never a list of values that price holds.
    list: unfilled("misfits.list"),
    // misfits.limit has no body. Its function cannot be followed: args.texts is a limit, and may be something else than a number.
    limit: unfilled("misfits.limit"),
    // misfits.whole has no body. Its function cannot be followed: caller.claims is compared as a whole.
    whole: unfilled("misfits.whole"),
  },
  missing: {
    // missing.table is left out. It does not work with this schema: There is no table 'nope'.
  },
  written: {
    byCustomer: defineQuery(({ args, ctx }: Given<WrittenByCustomerArgs, Context>) =>
      zql["order-items"]
        .where(({ cmpLit }) => cmpLit(args.least, "IS NOT", null))
        .where(({ cmpLit }) => cmpLit(ctx.claims.role as LiteralValue | undefined, "IS NOT", null))
        .where("customer", args.customer)
        .where("price", "IN", args.prices)
        .where(({ cmp, or }) =>
          or(
            cmp("price", ">=", args.least ?? undefined),
            cmp("class", "!=", ctx.claims.role as string | undefined),
          ),
        )
        .related("buyer")
        .orderBy("price", "desc")
        .limit(5),
    ),
    labelled: defineQuery((_: Given) =>
      zql.customer
        .whereExists("labels", (q) => q.where("_id", "x"))
        .related("labels", (q) => q.where("_id", "IS NOT", null))
        .one(),
    ),
  },
});

export type ToFill = {
  readonly customers: {
    // eslint-disable-next-line @typescript-eslint/no-explicit-any
    readonly search: QueryDefinition<any, CustomersSearchArgs, any, any, any>;
    // eslint-disable-next-line @typescript-eslint/no-explicit-any
    readonly ofKind: QueryDefinition<any, CustomersOfKindArgs, any, any, any>;
  };
  readonly misfits: {
    // eslint-disable-next-line @typescript-eslint/no-explicit-any
    readonly value: QueryDefinition<any, MisfitsValueArgs, any, any, any>;
    // eslint-disable-next-line @typescript-eslint/no-explicit-any
    readonly list: QueryDefinition<any, MisfitsListArgs, any, any, any>;
    // eslint-disable-next-line @typescript-eslint/no-explicit-any
    readonly limit: QueryDefinition<any, MisfitsLimitArgs, any, any, any>;
    // eslint-disable-next-line @typescript-eslint/no-explicit-any
    readonly whole: QueryDefinition<any, MisfitsWholeArgs, any, any, any>;
  };
};

// A client that an error has stopped does not connect again by itself. This connects it, after half a second at first and
// after half a minute at most, until the returned function is called. It leaves the state `needs-auth` to the app.
export function keepConnected(zero: { readonly connection: Connection }): () => void {
  let delay = 0;
  let failed = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const look = ({ name }: ConnectionState) => {
    clearTimeout(timer);
    if (name !== "error") return;
    delay = Date.now() - failed > 60_000 + delay ? 500 : Math.min(delay * 2, 30_000);
    failed = Date.now();
    timer = setTimeout(() => void zero.connection.connect(), delay * (0.5 + Math.random() / 2));
  };
  const unsubscribe = zero.connection.state.subscribe(look);
  look(zero.connection.state.current);
  return () => {
    unsubscribe();
    clearTimeout(timer);
  };
}
