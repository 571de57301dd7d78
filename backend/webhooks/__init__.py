"""Webhooks: what happens in a project, told to addresses that its people name. Rows first, requests from the worker."""
