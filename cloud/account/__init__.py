"""An AWS account made ready and cleared again: bucket, role, group, host image, policies."""
