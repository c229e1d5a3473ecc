-- Target encoding of the user's groups: which categories their members go for. Out of time: a month is encoded by the
-- target events before it began, so no label of the month itself counts. Smoothed as in Micci-Barreca, "A Preprocessing
-- Scheme for High-Cardinality Categorical Attributes in Classification and Prediction Problems" (SIGKDD Explorations
-- 3(1), 2001): a group's share is mixed with everybody's as if it came with a hundred events of the mean user. Groups
-- are those of the first four category attributes.
CREATE TEMP VIEW labels AS
SELECT month, segment, category, count(*) AS events
FROM (
    SELECT month, segment, unnest(categories) AS category
    FROM (
        SELECT
            date_trunc('month', known.event_timestamp) AS month,
            unnest(known.segments[:4]) AS segment,
            items.categories
        FROM (
            SELECT events.item_id, events.event_timestamp, segments.segments
            FROM events
            ASOF JOIN segments
                ON segments.user_id = events.user_id AND segments.event_timestamp <= events.event_timestamp
            WHERE events.target_weight > 0
        ) AS known
        ASOF JOIN items ON items.item_id = known.item_id AND items.event_timestamp <= known.event_timestamp
    )
)
WHERE segment IS NOT NULL
GROUP BY month, segment, category;

WITH totals AS (
    SELECT months.month, labels.segment, labels.category, sum(labels.events) AS events
    FROM (SELECT DISTINCT month FROM monthly_users) AS months
    JOIN labels ON labels.month < months.month
    GROUP BY months.month, labels.segment, labels.category
),

everybody AS (
    SELECT month, split_part(segment, '=', 1) AS attribute, category, sum(events) AS events,
        sum(sum(events)) OVER (PARTITION BY month, attribute) AS base
    FROM totals
    GROUP BY month, attribute, category
),

members AS (
    SELECT month, segment, split_part(segment, '=', 1) AS attribute, sum(events) AS events
    FROM totals
    GROUP BY month, segment
),

-- Every category that anybody has met, also for a group that has not.
shares AS (
    SELECT
        members.month,
        members.segment,
        members.events / everybody.base AS prior,
        everybody.category,
        everybody.events / everybody.base AS mean,
        (coalesce(totals.events, 0) + 100 * mean) / (members.events + 100) AS share
    FROM members
    JOIN everybody ON everybody.month = members.month AND everybody.attribute = members.attribute
    LEFT JOIN totals
        ON totals.month = members.month AND totals.segment = members.segment AND totals.category = everybody.category
),

versions AS (
    SELECT user_id, event_timestamp, segments[:4] AS segments FROM segments
),

combinations AS (
    SELECT segments, unnest(segments) AS segment FROM (SELECT DISTINCT segments FROM versions)
),

categories AS (
    SELECT
        segments,
        month,
        category,
        sum(CAST(share AS DECIMAL(18, 9))) / count(*) AS share,
        exp(sum(CAST(ln(share / mean) AS DECIMAL(18, 9)))) AS lift
    FROM combinations
    JOIN shares USING (segment)
    GROUP BY segments, month, category
),

encoded AS (
    SELECT
        segments,
        month,
        array_agg(category ORDER BY category) AS categories,
        array_agg(share ORDER BY category) AS shares,
        array_agg(lift ORDER BY category) AS lifts
    FROM categories
    GROUP BY segments, month
),

priors AS (
    SELECT
        segments,
        month,
        array_agg(segment ORDER BY segment) AS names,
        array_agg(split_part(segment, '=', 1) ORDER BY segment) AS attributes,
        array_agg(prior ORDER BY segment) AS priors
    FROM combinations
    JOIN (SELECT DISTINCT month, segment, prior FROM shares) USING (segment)
    GROUP BY segments, month
)

-- The first snapshot of a month, and the first one that knows a new version of a user.
SELECT
    known.user_id,
    known.event_timestamp,
    priors.names AS user_segments,
    priors.attributes AS user_segment_attributes,
    priors.priors AS user_segment_priors,
    encoded.categories AS segment_categories,
    encoded.shares AS segment_category_shares,
    encoded.lifts AS segment_category_lifts
FROM (
    SELECT asked.*, versions.segments
    FROM monthly_users AS asked
    ASOF JOIN versions ON versions.user_id = asked.user_id AND versions.event_timestamp <= asked.event_timestamp
) AS known
JOIN priors ON priors.segments = known.segments AND priors.month = known.month
JOIN encoded ON encoded.segments = known.segments AND encoded.month = known.month
