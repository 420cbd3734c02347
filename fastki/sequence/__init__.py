"""From a frame and a tokenizer to what a π0.5-style model trains on: text, ids, layouts, masks, batches."""
