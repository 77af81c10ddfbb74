"""Rules on rows, in the language of filters: who may do what with which rows of a table.

A rule is a filter over the columns of a table, with `$auth.<claim>` for what is known of the caller and `$exists` for rows
that a relationship leads to. `syntax` parses it and `checks` says what is wrong with it. It has three back ends: `matching`,
`query` and `zero_condition`.
"""
