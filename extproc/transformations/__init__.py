"""Step 3, transform: t:lowercase, t:urlDecodeUni, ...: bytes → bytes, one function each."""
