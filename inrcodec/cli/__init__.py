"""The commands `inrv-enc`, `inrv-dec`, `inrv-info`, `inrv-view` and `inrv-train`, also as ``inrv enc`` ….

In: arguments. Out: a file, and an exit code. Invariant: parse, call the library, print; nothing is computed
here. stdout carries data (a file, JSON, the table of `inrv-info`), stderr carries words.
"""
