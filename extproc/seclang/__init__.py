"""Before step 1: rule text → Ruleset: lexer, syntax tree, parser, compile, load."""
