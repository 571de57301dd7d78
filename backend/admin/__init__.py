"""What admins watch and do: queues, jobs and workers of all projects, roles, and the figures for Prometheus."""
