"""Vocabularies as terms: names, synonyms, concept ids and parents, of packages and of files a user has.

One module reads one vocabulary or one form of file; `registry` knows them all by name, `increments` makes contributions
of terms, `guard` says which names are better not remembered.  No loader sees a domain or a memory.
"""
