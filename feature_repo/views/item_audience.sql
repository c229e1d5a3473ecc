-- Target events by the groups that the user belonged to when they happened: of the first four category attributes, each
-- with the sum over its groups under its own name. By week: at the first snapshot of a week an item has the counts of
-- the Monday before it, with windows that end there. Weeks are numbered, 0 is that of Monday 1969-12-29, and so are
-- groups, moments and days: integers are many times as fast as names and times here.
CREATE TEMP VIEW known AS
SELECT
    events.item_id,
    segments.segments[:4] AS segments,
    epoch_us(events.event_timestamp) // 86400000000 + 3 AS day,
    TRY_CAST(events.value AS DECIMAL(18, 4)) AS amount
FROM events
ASOF JOIN segments ON segments.user_id = events.user_id AND segments.event_timestamp <= events.event_timestamp
WHERE events.target_weight > 0;

WITH calendar AS (
    SELECT event_timestamp, (epoch_us(event_timestamp) // 86400000000 + 3) // 7 AS week FROM weekly_snapshots
),

members AS (
    SELECT DISTINCT unnest(segments[:4]) AS segment FROM segments
),

names AS (
    SELECT name, row_number() OVER (ORDER BY name) AS number
    FROM (SELECT segment AS name FROM members UNION SELECT split_part(segment, '=', 1) FROM members)
    WHERE name IS NOT NULL
),

numbers AS (
    SELECT members.segment, names.number, attributes.number AS attribute
    FROM members
    JOIN names ON names.name = members.segment
    JOIN names AS attributes ON attributes.name = split_part(members.segment, '=', 1)
),

daily AS (
    SELECT
        item_id,
        segment,
        day,
        count(*) AS events,
        count(amount) AS valued,
        sum(amount) AS amount
    FROM (SELECT item_id, day, amount, unnest(segments) AS segment FROM known)
    WHERE segment IS NOT NULL
    GROUP BY item_id, segment, day
),

-- A day counts from the Monday after it on, and no longer from the first Monday that is further away than the window.
moved AS (
    SELECT
        daily.item_id,
        daily.segment,
        (daily.day + lags.lag_days) // 7 + 1 AS week,
        daily.events * lags.weight_30d AS events_30d,
        daily.events * lags.weight_90d AS events_90d,
        daily.events * lags.weight_all AS events_all,
        daily.valued * lags.weight_all AS valued,
        daily.amount * lags.weight_all AS amount
    FROM daily, (VALUES (0, 1, 1, 1), (30, -1, 0, 0), (90, 0, -1, 0)) AS lags(lag_days, weight_30d, weight_90d, weight_all)
),

stamps AS (
    SELECT weeks.week, calendar.event_timestamp
    FROM (SELECT DISTINCT week FROM moved) AS weeks
    ASOF JOIN calendar ON calendar.week >= weeks.week
),

groups AS (
    SELECT
        moved.item_id,
        numbers.number,
        numbers.attribute,
        stamps.event_timestamp,
        CAST(sum(moved.events_30d) AS INTEGER) AS events_30d,
        CAST(sum(moved.events_90d) AS INTEGER) AS events_90d,
        CAST(sum(moved.events_all) AS INTEGER) AS events_all,
        CAST(sum(moved.valued) AS INTEGER) AS valued,
        sum(moved.amount) AS amount
    FROM moved
    JOIN stamps ON stamps.week = moved.week
    JOIN numbers ON numbers.segment = moved.segment
    GROUP BY ALL
),

steps AS (
    SELECT * EXCLUDE (attribute) FROM groups
    UNION ALL BY NAME
    SELECT
        item_id,
        attribute AS number,
        event_timestamp,
        CAST(sum(events_30d) AS INTEGER) AS events_30d,
        CAST(sum(events_90d) AS INTEGER) AS events_90d,
        CAST(sum(events_all) AS INTEGER) AS events_all,
        CAST(sum(valued) AS INTEGER) AS valued,
        sum(amount) AS amount
    FROM groups
    GROUP BY ALL
),

moments AS (
    SELECT
        item_id,
        event_timestamp,
        row_number() OVER (PARTITION BY item_id ORDER BY event_timestamp) AS moment,
        count(*) OVER (PARTITION BY item_id) AS last
    FROM (SELECT DISTINCT item_id, event_timestamp FROM groups)
),

-- What a group has from one of the item's moments to the next of its own.
totals AS (
    SELECT
        steps.item_id,
        steps.number,
        moments.moment,
        sum(steps.events_30d) OVER history AS events_30d,
        sum(steps.events_90d) OVER history AS events_90d,
        sum(steps.events_all) OVER history AS events_all,
        sum(steps.valued) OVER history AS valued,
        sum(steps.amount) OVER history AS amount,
        coalesce(lead(moments.moment) OVER history, moments.last + 1) AS until
    FROM steps
    JOIN moments ON moments.item_id = steps.item_id AND moments.event_timestamp = steps.event_timestamp
    WINDOW history AS (PARTITION BY steps.item_id, steps.number ORDER BY moments.moment)
),

entries AS (
    SELECT
        item_id,
        number,
        unnest(range(moment, until)) AS moment,
        {
            number: number,
            events_30d: CAST(events_30d AS INTEGER),
            events_90d: CAST(events_90d AS INTEGER),
            events_all: CAST(events_all AS INTEGER),
            value_mean: CAST(amount / nullif(valued, 0) AS FLOAT)
        } AS entry
    FROM totals
),

-- Grouping what is sorted already takes a quarter of the time; the order itself comes from list_sort.
lists AS (
    SELECT item_id, moment, list_sort(array_agg(entry)) AS entries
    FROM (SELECT * FROM entries ORDER BY item_id, moment, number)
    GROUP BY item_id, moment
),

known_names AS (
    SELECT array_agg(name ORDER BY number) AS names FROM names
)

SELECT
    lists.item_id,
    moments.event_timestamp,
    list_select(known_names.names, list_transform(entries, lambda entry: entry.number)) AS item_segments,
    list_transform(entries, lambda entry: entry.events_30d) AS item_segment_events_30d,
    list_transform(entries, lambda entry: entry.events_90d) AS item_segment_events_90d,
    list_transform(entries, lambda entry: entry.events_all) AS item_segment_events_all,
    list_transform(entries, lambda entry: entry.value_mean) AS item_segment_value_mean
FROM lists
JOIN moments ON moments.item_id = lists.item_id AND moments.moment = lists.moment
CROSS JOIN known_names
