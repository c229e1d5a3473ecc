"""Computing feature views: which snapshots a view lacks, the SQL over them, the Parquet parts that hold its rows.

snapshots   the calendar of a workspace
state       what a view was last built from
plan        what has to be computed, and why
changes     the prepared relations that the SQL sees
transform   one view's SQL on one calendar -> checked rows
parts       rows -> monthly Parquet files, replaced as a whole
lanes       views side by side, within the bounds of the engine
run         plan, compute, write
leaks       does a view look ahead?
scaffold    a new view from a template
"""
