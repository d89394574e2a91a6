"""Readers of files and tables, behind `recformer_utils.movielens`."""
