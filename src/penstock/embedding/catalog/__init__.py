"""What is written down: collections, their documents and jobs, the bytes behind them, and the news of them."""
