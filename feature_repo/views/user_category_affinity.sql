-- The log by category, as the item was known when the event happened. A share is the part of the user's target events
-- in the window that fell on an item of the category; an item of two categories counts for both. A streak is how many
-- of the user's last target events, without a gap, had the category. Entropy, in nats, is that of the shares.
-- Categories are numbered in the order of their names: integers are sorted in a fraction of the time.
CREATE TEMP VIEW names AS
SELECT name, CAST(row_number() OVER (ORDER BY name) AS INTEGER) AS number
FROM (SELECT DISTINCT unnest(categories) AS name FROM items);

CREATE TEMP VIEW log AS
SELECT
    * EXCLUDE (run),
    row_number() OVER (PARTITION BY user_id, category, run ORDER BY place) AS streak
FROM (
    SELECT
        *,
        place - row_number() OVER (PARTITION BY user_id, category ORDER BY place) AS run
    FROM (
        SELECT named.* EXCLUDE (name), names.number AS category
        FROM (
            SELECT
                events.user_id,
                events.event_timestamp,
                unnest(items.categories) AS name,
                TRY_CAST(events.value AS DECIMAL(18, 4)) AS amount,
                CAST(TRY_CAST(events.value AS DECIMAL(18, 4)) IS NOT NULL AS INTEGER) AS valued,
                row_number() OVER (PARTITION BY events.user_id ORDER BY events.event_timestamp, events.item_id) AS place
            FROM own_events AS events
            ASOF JOIN items ON items.item_id = events.item_id AND items.event_timestamp <= events.event_timestamp
            WHERE events.target_weight > 0 AND len(items.categories) > 0
        ) AS named
        JOIN names ON names.name = named.name
    )
);

CREATE TEMP VIEW steps AS
SELECT
    user_id,
    category,
    event_timestamp,
    sum(in_7d) AS events_7d,
    sum(in_30d) AS events_30d,
    sum(in_all) AS events_all,
    sum(in_all * valued) AS valued,
    sum(in_all * amount) AS amount,
    max(occurred_at) FILTER (entering = 1) AS last_at,
    max(place) FILTER (entering = 1) AS last_place,
    arg_max(streak, place) FILTER (entering = 1) AS last_streak
FROM changes
GROUP BY user_id, category, event_timestamp;

WITH moments AS (
    SELECT
        user_id,
        event_timestamp,
        row_number() OVER (PARTITION BY user_id ORDER BY event_timestamp) AS moment,
        count(*) OVER (PARTITION BY user_id) AS last
    FROM (SELECT DISTINCT user_id, event_timestamp FROM running_totals)
),

-- What a category has from one of the user's moments to the next of its own: between its steps it keeps its sums.
totals AS (
    SELECT
        known.user_id,
        known.category,
        moments.moment,
        CAST(known.events_7d AS INTEGER) AS events_7d,
        CAST(known.events_30d AS INTEGER) AS events_30d,
        CAST(known.events_all AS INTEGER) AS events_all,
        CAST(known.amount / nullif(known.valued, 0) AS FLOAT) AS value_mean,
        date_trunc('second', known.last_at) AS last_at,
        CAST(known.last_place AS INTEGER) AS last_place,
        CAST(known.last_streak AS INTEGER) AS last_streak,
        coalesce(lead(moments.moment) OVER history, moments.last + 1) AS until
    FROM running_totals AS known
    JOIN moments ON moments.user_id = known.user_id AND moments.event_timestamp = known.event_timestamp
    WINDOW history AS (PARTITION BY known.user_id, known.category ORDER BY moments.moment)
),

-- Grouping what is sorted by user and category takes less than half the time; the order itself comes from list_sort.
lists AS (
    SELECT
        user_id,
        moment,
        list_sort(array_agg({
            category: category,
            events_7d: events_7d, events_30d: events_30d, events_all: events_all,
            value_mean: value_mean,
            last_at: last_at,
            last_place: last_place,
            last_streak: last_streak
        })) AS entries,
        sum(events_7d) AS total_7d,
        sum(events_30d) AS total_30d,
        sum(events_all) AS total_all,
        max(last_place) AS latest
    FROM (
        SELECT * EXCLUDE (moment, until), unnest(range(moment, until)) AS moment
        FROM (SELECT * FROM totals ORDER BY user_id, category)
    )
    GROUP BY user_id, moment
),

shares AS (
    SELECT
        *,
        list_transform(entries, lambda entry: coalesce(entry.events_7d / nullif(total_7d, 0), 0)) AS shares_7d,
        list_transform(entries, lambda entry: coalesce(entry.events_30d / nullif(total_30d, 0), 0)) AS shares_30d,
        list_transform(entries, lambda entry: entry.events_all / total_all) AS shares_all
    FROM lists
),

known_names AS (
    SELECT array_agg(name ORDER BY number) AS names FROM names
)

SELECT
    shares.user_id,
    moments.event_timestamp,
    list_select(known_names.names, list_transform(entries, lambda entry: entry.category)) AS user_categories,
    list_transform(entries, lambda entry: entry.events_7d) AS user_category_events_7d,
    list_transform(entries, lambda entry: entry.events_30d) AS user_category_events_30d,
    list_transform(entries, lambda entry: entry.events_all) AS user_category_events_all,
    shares_7d AS user_category_share_7d,
    shares_30d AS user_category_share_30d,
    shares_all AS user_category_share_all,
    list_transform(entries, lambda entry: entry.value_mean) AS user_category_value_mean,
    list_transform(entries, lambda entry: entry.last_at) AS user_category_last_at,
    list_transform(entries, lambda entry: CASE WHEN entry.last_place = latest THEN entry.last_streak ELSE 0 END)
        AS user_category_streak,
    len(entries) AS user_categories_count,
    list_sum(list_transform(
        shares_7d, lambda share: CAST(coalesce(-share * ln(nullif(share, 0)), 0) AS DECIMAL(18, 9))
    )) AS user_category_entropy_7d,
    list_sum(list_transform(
        shares_30d, lambda share: CAST(coalesce(-share * ln(nullif(share, 0)), 0) AS DECIMAL(18, 9))
    )) AS user_category_entropy_30d,
    list_sum(list_transform(
        shares_all, lambda share: CAST(coalesce(-share * ln(nullif(share, 0)), 0) AS DECIMAL(18, 9))
    )) AS user_category_entropy_all
FROM shares
JOIN moments ON moments.user_id = shares.user_id AND moments.moment = shares.moment
CROSS JOIN known_names
