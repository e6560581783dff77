"""What turns seconds of video into features: image models, motion, S3D, dual encoders, and their weights."""
