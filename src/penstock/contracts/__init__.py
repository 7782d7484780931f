"""Each port's promises as runnable cases: pytest runs them on every adapter, `penstock doctor` on a live deployment."""
