"""What starts jobs: one file per scheduler."""
