-- Target encoding of what an item is: what became of the items of its groups (categories and category attributes). Out
-- of time: a week is encoded by labels that ended before it began, the target events of the 30 days until then.
-- Smoothed as in Micci-Barreca (SIGKDD Explorations 3(1), 2001): a group's mean is mixed with the mean of all items as
-- if it came with ten items of that mean, its rate with the rate of all events as if it came with a hundred of them.
CREATE TEMP VIEW daily AS
SELECT item_id, epoch_us(event_timestamp) // 86400000000 AS day, count(*) AS events, count(*) FILTER (target_weight > 0) AS targets
FROM events
GROUP BY item_id, day;

WITH weeks AS (
    SELECT DISTINCT week, epoch_us(week) // 86400000000 AS day FROM weekly_items
),

labels AS (
    SELECT weeks.week, daily.item_id, sum(daily.events) AS events, sum(daily.targets) AS targets,
        CAST(ln(1 + sum(daily.targets)) AS DECIMAL(18, 6)) AS label
    FROM weeks
    JOIN daily ON daily.day < weeks.day AND daily.day >= weeks.day - 30
    GROUP BY weeks.week, daily.item_id
),

known AS (
    SELECT asked.week, asked.item_id, item_groups.item_groups
    FROM (SELECT week, item_id FROM weeks CROSS JOIN (SELECT DISTINCT item_id FROM item_groups)) AS asked
    ASOF JOIN item_groups ON item_groups.item_id = asked.item_id AND item_groups.event_timestamp <= asked.week
),

labelled AS (
    SELECT known.week, known.item_groups, coalesce(labels.label, 0) AS label,
        coalesce(labels.events, 0) AS events, coalesce(labels.targets, 0) AS targets
    FROM known
    LEFT JOIN labels ON labels.week = known.week AND labels.item_id = known.item_id
),

everything AS (
    SELECT week, sum(label) / count(*) AS mean, sum(targets) / nullif(sum(events), 0) AS rate
    FROM labelled
    GROUP BY week
),

groups AS (
    SELECT
        members.week,
        members.name,
        (sum(members.label) + 10 * any_value(everything.mean)) / (count(*) + 10) AS label,
        (sum(members.targets) + 100 * any_value(everything.rate)) / (sum(members.events) + 100) AS rate
    FROM (SELECT week, unnest(item_groups) AS name, label, events, targets FROM labelled) AS members
    JOIN everything USING (week)
    GROUP BY members.week, members.name
),

-- The first snapshot of a week, and the first one that knows a new version of an item.
current AS (
    SELECT asked.item_id, asked.event_timestamp, asked.week, unnest(item_groups.item_groups) AS name
    FROM weekly_items AS asked
    ASOF JOIN item_groups
        ON item_groups.item_id = asked.item_id AND item_groups.event_timestamp <= asked.event_timestamp
)

SELECT
    current.item_id,
    current.event_timestamp,
    max(groups.label) AS item_group_popularity_max,
    sum(CAST(groups.label AS DECIMAL(18, 9))) / count(*) AS item_group_popularity_mean,
    max(groups.rate) AS item_group_rate_max,
    sum(CAST(groups.rate AS DECIMAL(18, 9))) / count(groups.rate) AS item_group_rate_mean
FROM current
JOIN groups ON groups.week = current.week AND groups.name = current.name
GROUP BY current.item_id, current.event_timestamp
