"""Who owns what: projects and their members, and the one door to another's rows."""
