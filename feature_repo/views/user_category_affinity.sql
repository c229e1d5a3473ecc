-- The log by category, as the item was known when the event happened. A share is the part of the user's target events
-- in the window that fell on an item of the category; an item of two categories counts for both. A streak is how many
-- of the user's last target events, without a gap, had the category. Entropy, in nats, is that of the shares.
CREATE TEMP VIEW log AS
SELECT
    * EXCLUDE (run),
    row_number() OVER (PARTITION BY user_id, category, run ORDER BY place) AS streak
FROM (
    SELECT
        *,
        place - row_number() OVER (PARTITION BY user_id, category ORDER BY place) AS run
    FROM (
        SELECT
            events.user_id,
            events.event_timestamp,
            unnest(items.categories) AS category,
            TRY_CAST(events.value AS DECIMAL(18, 4)) AS amount,
            CAST(TRY_CAST(events.value AS DECIMAL(18, 4)) IS NOT NULL AS INTEGER) AS valued,
            row_number() OVER (PARTITION BY events.user_id ORDER BY events.event_timestamp, events.item_id) AS place
        FROM own_events AS events
        ASOF JOIN items ON items.item_id = events.item_id AND items.event_timestamp <= events.event_timestamp
        WHERE events.target_weight > 0 AND len(items.categories) > 0
    )
);

WITH steps AS (
    SELECT
        user_id,
        category,
        event_timestamp,
        sum(in_7d) AS events_7d,
        sum(in_30d) AS events_30d,
        sum(in_all) AS events_all,
        sum(in_all * valued) AS valued,
        sum(in_all * amount) AS amount,
        max(occurred_at) AS last_at,
        max(place) AS last_place,
        arg_max(streak, place) FILTER (entering = 1) AS last_streak
    FROM changes
    GROUP BY user_id, category, event_timestamp
),

moments AS (
    SELECT DISTINCT user_id, event_timestamp FROM steps
),

-- Every category of a user at every moment of the user: between its own steps a category keeps its sums.
grid AS (
    SELECT moments.user_id, moments.event_timestamp, entered.category
    FROM moments
    JOIN (SELECT user_id, category, min(event_timestamp) AS since FROM steps GROUP BY user_id, category) AS entered
        ON entered.user_id = moments.user_id AND entered.since <= moments.event_timestamp
),

totals AS (
    SELECT
        grid.user_id,
        grid.category,
        grid.event_timestamp,
        sum(steps.events_7d) OVER history AS events_7d,
        sum(steps.events_30d) OVER history AS events_30d,
        sum(steps.events_all) OVER history AS events_all,
        sum(steps.valued) OVER history AS valued,
        sum(steps.amount) OVER history AS amount,
        max(steps.last_at) OVER history AS last_at,
        max(steps.last_place) OVER history AS last_place,
        last_value(steps.last_streak IGNORE NULLS) OVER history AS last_streak
    FROM grid
    LEFT JOIN steps
        ON steps.user_id = grid.user_id
        AND steps.category = grid.category
        AND steps.event_timestamp = grid.event_timestamp
    WINDOW history AS (PARTITION BY grid.user_id, grid.category ORDER BY grid.event_timestamp)
),

shares AS (
    SELECT
        *,
        coalesce(events_7d / nullif(sum(events_7d) OVER moment, 0), 0) AS share_7d,
        coalesce(events_30d / nullif(sum(events_30d) OVER moment, 0), 0) AS share_30d,
        events_all / sum(events_all) OVER moment AS share_all,
        CASE WHEN last_place = max(last_place) OVER moment THEN last_streak ELSE 0 END AS streak
    FROM totals
    WINDOW moment AS (PARTITION BY user_id, event_timestamp)
),

lists AS (
    SELECT
        user_id,
        event_timestamp,
        array_agg({
            category: category,
            events_7d: events_7d, events_30d: events_30d, events_all: events_all,
            share_7d: share_7d, share_30d: share_30d, share_all: share_all,
            value_mean: amount / nullif(valued, 0),
            last_at: date_trunc('second', last_at),
            streak: streak
        } ORDER BY category) AS entries,
        count(*) AS categories,
        sum(CAST(coalesce(-share_30d * ln(nullif(share_30d, 0)), 0) AS DECIMAL(18, 9))) AS entropy_30d,
        sum(CAST(coalesce(-share_all * ln(nullif(share_all, 0)), 0) AS DECIMAL(18, 9))) AS entropy_all
    FROM shares
    GROUP BY user_id, event_timestamp
)

SELECT
    user_id,
    event_timestamp,
    list_transform(entries, lambda entry: entry.category) AS user_categories,
    list_transform(entries, lambda entry: entry.events_7d) AS user_category_events_7d,
    list_transform(entries, lambda entry: entry.events_30d) AS user_category_events_30d,
    list_transform(entries, lambda entry: entry.events_all) AS user_category_events_all,
    list_transform(entries, lambda entry: entry.share_7d) AS user_category_share_7d,
    list_transform(entries, lambda entry: entry.share_30d) AS user_category_share_30d,
    list_transform(entries, lambda entry: entry.share_all) AS user_category_share_all,
    list_transform(entries, lambda entry: entry.value_mean) AS user_category_value_mean,
    list_transform(entries, lambda entry: entry.last_at) AS user_category_last_at,
    list_transform(entries, lambda entry: entry.streak) AS user_category_streak,
    categories AS user_categories_count,
    entropy_30d AS user_category_entropy_30d,
    entropy_all AS user_category_entropy_all
FROM lists
