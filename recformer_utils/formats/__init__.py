"""Readers of files and tables, and the download; `recformer_utils.movielens` is their door."""
