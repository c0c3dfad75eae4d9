"""The commands `inrv-enc`, `inrv-dec` and `inrv-info`.

In: arguments. Out: a file, and an exit code. The one law: parse, call the library, print; nothing is
computed here. stdout carries data (a file, JSON, the table of `inrv-info`), stderr carries words.
"""
