"""The doctor: tries what the platform needs, one check at a time, and says how to mend what fails."""
