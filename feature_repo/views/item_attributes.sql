SELECT
    items.item_id,
    items.event_timestamp,
    items.categories AS item_categories,
    len(items.categories) AS item_categories_count,
    length(items.title) AS item_title_length,
    date_trunc('second', items.released_at) AS item_released_at,
    item_attributes.* EXCLUDE (item_id, event_timestamp)
FROM items
JOIN item_attributes USING (item_id, event_timestamp)
