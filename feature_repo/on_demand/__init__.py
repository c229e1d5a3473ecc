"""On-demand feature views: features of a request and of a pair, computed from columns of other views.

A module defines `define(views)` and its `FUNCTION` works on whole Arrow columns, the same one for a training set and
for one request. `define` returns None where a view that it reads is left out. The tag `arrow` of a view names the
function that takes its inputs as an Arrow table: who reads the store in bulk calls that, Feast goes through pandas.
"""
