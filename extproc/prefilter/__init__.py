"""Step 4, Aho-Corasick first: which rules can match at all?"""
