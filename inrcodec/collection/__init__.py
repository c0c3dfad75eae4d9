"""Collections: trees and lists of sources, each done once, on this process or on a cluster.

    sources → manifest (what is done already) → tasks, one a source → manifest, summary

In: a folder or paths, and options for all of them.  Out: files that mirror the tree, and a manifest of them.
Invariant: one bad source does not stop the others, and what is done and intact is not done again.
"""
