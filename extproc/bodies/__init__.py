"""Step 2, transaction: body processors: urlencoded, multipart, JSON, XML, decompression, with limits."""
