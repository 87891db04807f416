"""Detectors with a grammar: would this value run, if it were put where such values are put?"""
