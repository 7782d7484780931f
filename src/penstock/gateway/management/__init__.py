"""The management API: who may what, keys, limits, money, people, requests and what breaks first. See `application`."""
