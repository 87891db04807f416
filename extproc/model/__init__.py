"""Step 0, the nouns: frozen dataclasses, enums and protocols; standard library only."""
