"""Video, images and sound from a prompt: one engine, the studio's door and that of the task service."""
