"""Questions to passages: by meaning and by words, fused, reranked, with one calibrated score."""
