-- Target events by the group that the user belonged to when they happened. `segments` has a group for each category
-- attribute; the slice takes the first one: write `segments` for all, here and in user_segments.sql. Between its own
-- steps a group keeps its sums.
CREATE TEMP VIEW log AS
SELECT
    item_id,
    event_timestamp,
    segment,
    TRY_CAST(value AS DECIMAL(18, 4)) AS amount,
    CAST(TRY_CAST(value AS DECIMAL(18, 4)) IS NOT NULL AS INTEGER) AS valued
FROM (
    SELECT events.*, unnest(segments.segments[:1]) AS segment
    FROM events
    ASOF JOIN segments ON segments.user_id = events.user_id AND segments.event_timestamp <= events.event_timestamp
    WHERE events.target_weight > 0
)
WHERE segment IS NOT NULL;

WITH steps AS (
    SELECT
        item_id,
        segment,
        event_timestamp,
        sum(in_30d) AS events_30d,
        sum(in_90d) AS events_90d,
        sum(in_all) AS events_all,
        sum(in_all * valued) AS valued,
        sum(in_all * amount) AS amount
    FROM changes
    GROUP BY item_id, segment, event_timestamp
),

grid AS (
    SELECT moments.item_id, moments.event_timestamp, entered.segment
    FROM (SELECT DISTINCT item_id, event_timestamp FROM steps) AS moments
    JOIN (SELECT item_id, segment, min(event_timestamp) AS since FROM steps GROUP BY item_id, segment) AS entered
        ON entered.item_id = moments.item_id AND entered.since <= moments.event_timestamp
),

totals AS (
    SELECT
        grid.item_id,
        grid.segment,
        grid.event_timestamp,
        sum(steps.events_30d) OVER history AS events_30d,
        sum(steps.events_90d) OVER history AS events_90d,
        sum(steps.events_all) OVER history AS events_all,
        sum(steps.valued) OVER history AS valued,
        sum(steps.amount) OVER history AS amount
    FROM grid
    LEFT JOIN steps
        ON steps.item_id = grid.item_id
        AND steps.segment = grid.segment
        AND steps.event_timestamp = grid.event_timestamp
    WINDOW history AS (PARTITION BY grid.item_id, grid.segment ORDER BY grid.event_timestamp)
),

bases AS (
    SELECT
        *,
        sum(events_30d) OVER attribute AS base_30d,
        sum(events_90d) OVER attribute AS base_90d,
        sum(events_all) OVER attribute AS base_all
    FROM totals
    WINDOW attribute AS (PARTITION BY item_id, event_timestamp, split_part(segment, '=', 1))
),

lists AS (
    SELECT
        item_id,
        event_timestamp,
        array_agg({
            segment: segment,
            events_30d: events_30d, base_30d: base_30d,
            events_90d: events_90d, base_90d: base_90d,
            events_all: events_all, base_all: base_all,
            value_mean: amount / nullif(valued, 0)
        } ORDER BY segment) AS entries
    FROM bases
    GROUP BY item_id, event_timestamp
)

SELECT
    item_id,
    event_timestamp,
    list_transform(entries, lambda entry: entry.segment) AS item_segments,
    list_transform(entries, lambda entry: entry.events_30d) AS item_segment_events_30d,
    list_transform(entries, lambda entry: entry.events_90d) AS item_segment_events_90d,
    list_transform(entries, lambda entry: entry.events_all) AS item_segment_events_all,
    list_transform(entries, lambda entry: entry.base_30d) AS item_segment_base_30d,
    list_transform(entries, lambda entry: entry.base_90d) AS item_segment_base_90d,
    list_transform(entries, lambda entry: entry.base_all) AS item_segment_base_all,
    list_transform(entries, lambda entry: entry.value_mean) AS item_segment_value_mean
FROM lists
