"""The way of a document: source, graph, commit log, tables, commands.

The only place that imports ``apache_beam`` or ``kafka``.
"""
