"""Scores of LightGBM's trees, equal to the bit to `Booster.predict` and many times faster.

`text` reads a booster's trees, `plan` lays them out as arrays, `kernels` (numba, compiled when it is imported) walks
them, `forest` is what callers see.
"""
