"""The commands `inrv-enc`, `inrv-dec`, `inrv-info` and `inrv-train`, also as ``python -m inrcodec enc`` ….

In: arguments. Out: a file, and an exit code. Invariant: parse, call the library, print; nothing is computed
here. stdout carries data (a file, JSON, the table of `inrv-info`), stderr carries words.
"""
