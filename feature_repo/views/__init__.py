"""Feature views, one per name: `NAME.py` defines the Feast view in `define(data)`, `NAME.sql` beside it computes it.

The SQL sees `events`, `users`, `items`, `snapshots(event_timestamp)` and, prepared by the runner:

`changes`           one row where an event enters or leaves a window, stamped with the snapshot at which that shows.
                    All columns of the log, its time as `occurred_at`; `entering` (1, else 0), `leaving_7d` (1, else 0),
                    `in_7d` = entering - leaving_7d for whatever windows the SQL names, and `in_all` = entering.
                    Running sums per key give the value at every snapshot: sum(sum(in_7d)) OVER history.
`running_totals`    the same of a view `steps` that the file has made of `changes` by key and snapshot, in a fraction of
                    the time: sum(in_7d) of the steps is what the window holds here. Columns before event_timestamp are
                    keys; `first_...` and `last_...` hold the first and the latest value so far that is not null; all
                    others are integers or DECIMAL, and added up.
`own_events`        `events` of the keys that are computed: of all in a backfill, of those that change when a day is
                    added. Right for a log that keeps the times and needs to know no events of other keys. A column
                    `cell`, an integer that grows with time, is there where the SQL names it: the events of a cell enter
                    at one snapshot and leave every window at one, so a log may be summed by key and cell first, with
                    any time of the cell. That is much less work where a key has many events a day.
`user_attributes`   the key, its known-since time and the attributes, prefixed `user_`
`item_attributes`   the same for items, prefixed `item_`
`segments`          the user's groups since a known-since time: 'gender=F', one per category attribute, null if unknown
`item_groups`       the same for items, the categories among them: 'category=drama', 'brand=acme'
`weekly_users`      each key at the first snapshot of a `week` and at the first one that knows a new version of it; also
                    `weekly_items`, `monthly_users`, `monthly_items`. `weekly_snapshots` and `monthly_snapshots` are
                    the times alone. What reads these, and not `snapshots`, has nothing to do on other days.

A file may first define views, and among them a log of its own, `CREATE TEMP VIEW log AS SELECT ... FROM own_events`,
of which `changes` is then made. Views that do not read `own_events` are computed once where a large log is computed a
range of keys at a time. The last statement returns join keys, event_timestamp and the features of the schema.
Sums must be exact (integers, DECIMAL): then a day added later gives the same bytes as a backfill. Group `changes` by
the join keys, or finer: when a day is added it holds just the keys that change, each with its whole history. Feast's
times are whole seconds online, so cut a time to seconds before you publish it.
"""
