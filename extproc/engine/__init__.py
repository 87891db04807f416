"""Step 2 and 5: one transaction through compiled rules, pure and synchronous."""
